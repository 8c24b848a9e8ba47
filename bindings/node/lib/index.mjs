// Node.js finds the names in index.js.
export * from './index.js';
export { default } from './index.js';
