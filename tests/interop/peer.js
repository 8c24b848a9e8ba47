'use strict';

// Command-line peer around the futoin-eventstream npm package: the other side
// of the interoperability tests. See README.md.

const fs = require( 'fs' );
const path = require( 'path' );
const { parseArgs } = require( 'util' );

const KINDS = [ 'sqlite', 'postgresql', 'mysql' ];

const OPTIONS = {
    // active database
    'type': { type: 'string' },
    'host': { type: 'string', default: '127.0.0.1' },
    'port': { type: 'string' },
    'user': { type: 'string' },
    'pass-env': { type: 'string' },
    'db': { type: 'string' },
    // warehouse database: "schema --dwh" uses the options above
    'dwh': { type: 'boolean', default: false },
    'dwh-type': { type: 'string' },
    'dwh-host': { type: 'string', default: '127.0.0.1' },
    'dwh-port': { type: 'string' },
    'dwh-user': { type: 'string' },
    'dwh-pass-env': { type: 'string' },
    'dwh-db': { type: 'string' },
    // events
    'event': { type: 'string' },
    'data': { type: 'string' },
    'count': { type: 'string' },
    // consumers
    'consumer-user': { type: 'string', default: '-internal' },
    'component': { type: 'string' },
    'last-id': { type: 'string' },
    'want': { type: 'string' },
    // background workers
    'seconds': { type: 'string' },
};

class UsageError extends Error {}

const print = ( doc ) => process.stdout.write( `${JSON.stringify( doc )}\n` );
const complain = ( msg ) => process.stderr.write( `${msg}\n` );
const complaints = new Set();
const complainOnce = ( ...args ) => {
    const msg = args.filter( Boolean ).join( ': ' );

    if ( !complaints.has( msg ) ) {
        complaints.add( msg );
        complain( msg );
    }
};
const sleep = ( seconds ) => new Promise( ( done ) => setTimeout( done, seconds * 1e3 ) );

function required( opts, name ) {
    if ( !opts[name] ) {
        throw new UsageError( `--${name} is required` );
    }

    return opts[name];
}

function number( opts, name, fallback ) {
    const value = Number( opts[name] === undefined ? fallback : opts[name] );

    if ( !( value > 0 ) ) {
        throw new UsageError( `--${name} must be a positive number` );
    }

    return value;
}

/** Settings of one database in the form DBAutoConfig() takes from the environment */
function dbConfig( opts, name, prefix ) {
    const type = required( opts, `${prefix}type` );

    if ( !KINDS.includes( type ) ) {
        throw new UsageError( `--${prefix}type must be one of: ${KINDS.join( ', ' )}` );
    }

    const set = { TYPE: type };

    if ( type === 'sqlite' ) {
        // yes, this is how futoin-database gets the file name
        set.SOCKET = required( opts, `${prefix}db` );
    } else {
        const pass_env = opts[`${prefix}pass-env`];

        if ( pass_env && process.env[pass_env] === undefined ) {
            throw new UsageError( `--${prefix}pass-env: no ${pass_env} in the environment` );
        }

        set.HOST = opts[`${prefix}host`];
        set.PORT = opts[`${prefix}port`];
        set.USER = required( opts, `${prefix}user` );
        set.PASS = pass_env && process.env[pass_env];
        set.DB = required( opts, `${prefix}db` );

        // futoin-database takes "localhost" for a UNIX socket of MySQL
        if ( type === 'mysql' && set.HOST === 'localhost' ) {
            set.HOST = '127.0.0.1';
        }
    }

    return Object.fromEntries(
        Object.entries( set ).map( ( [ k, v ] ) => [ `DB_${name}_${k}`, v ] ) );
}

function loadPackages( types ) {
    const load = ( name ) => {
        try {
            return require( name );
        } catch ( e ) {
            if ( name === 'sqlite3' ) {
                throw new Error( 'The sqlite3 npm package is not usable here, most likely ' +
                    'because it could not be built; only --type postgresql and mysql ' +
                    `are possible: see README.md (${e.message.split( '\n' )[0]})` );
            }

            throw new Error( `${e.message.split( '\n' )[0]}; run "npm run setup" first` );
        }
    };

    if ( types.includes( 'sqlite' ) ) {
        load( 'sqlite3' );
    }

    return {
        $as: load( 'futoin-asyncsteps' ),
        AdvancedCCM: load( 'futoin-invoker' ).AdvancedCCM,
        Executor: load( 'futoin-executor' ).Executor,
        SecurityProvider: load( 'futoin-executor' ).SecurityProvider,
        DBAutoConfig: load( 'futoin-database/AutoConfig' ),
        DBEventArchiver: load( 'futoin-eventstream/DBEventArchiver' ),
        DBEventDiscarder: load( 'futoin-eventstream/DBEventDiscarder' ),
        DBGenFace: load( 'futoin-eventstream/DBGenFace' ),
        DBGenService: load( 'futoin-eventstream/DBGenService' ),
        DBPushService: load( 'futoin-eventstream/DBPushService' ),
        PushFace: load( 'futoin-eventstream/PushFace' ),
        ReliableReceiver: load( 'futoin-eventstream/ReliableReceiver' ),
    };
}

class Peer {
    constructor( opts ) {
        this.opts = opts;
        this.config = dbConfig( opts, 'EVT', '' );
        this.databases = { evt: {} };
    }

    withWarehouse() {
        Object.assign( this.config, dbConfig( this.opts, 'EVTDWH', 'dwh-' ) );
        this.databases.evtdwh = {};
    }

    /** Run FutoIn steps, resolve with their single result */
    run( steps ) {
        return new Promise( ( resolve, reject ) => {
            this.unexpected = null;
            this.packages.$as()
                .add( steps, ( as, err ) => reject( new Error(
                    [ err, as.state.error_info, this.unexpected ].filter( Boolean ).join( ': ' ) ) ) )
                .add( ( as, res ) => resolve( res ) )
                .execute();
        } );
    }

    /** The complete example of the package's README, with credentials */
    async start() {
        const { config, opts } = this;
        const p = this.packages = loadPackages( [ config.DB_EVT_TYPE, config.DB_EVTDWH_TYPE ] );
        const chunk_size = opts.count && number( opts, 'count' );

        // The user name of credentials is trusted and becomes the local user ID
        class TrustingProvider extends p.SecurityProvider {
            checkAuth( as, reqinfo, _reqmsg, [ user ] ) {
                this._setUser( as, reqinfo, reqinfo.SL_SAFE_OPS,
                    { local_id: user, global_id: user } );
            }
        }

        // The package has no option for the chunk size of in-process polling
        class PushService extends p.DBPushService {
            _maxChunkEvents( channel ) {
                return chunk_size || super._maxChunkEvents( channel );
            }
        }

        const ccm = this.ccm = new p.AdvancedCCM();
        const executor = this.executor = new p.Executor( ccm, {
            securityProvider: new TrustingProvider(),
        } );
        // Unexpected errors are sent to clients with no details
        executor.on( 'notExpected', ( err, info ) => {
            this.unexpected = `${err}: ${info}`;
        } );

        await this.run( ( as ) => {
            p.DBAutoConfig( as, ccm, this.databases, config );
            as.add( ( as ) => {
                this.push_service = PushService.register( as, executor );
                p.DBGenService.register( as, executor );
                p.DBGenFace.register( as, ccm, 'gen', executor );
                p.PushFace.register( as, ccm, 'poll', executor, this.credentials() );
            } );
        } );
        this.gen = ccm.iface( 'gen' );
        this.poll = ccm.iface( 'poll' );

        // Connection problems must be seen now: background workers retry forever
        for ( const name of Object.keys( this.databases ) ) {
            await this.run( ( as ) => ccm.db( name ).query( as, 'SELECT 1 AS one' ) );
        }
    }

    credentials() {
        const user = this.opts['consumer-user'];
        return ( user === '-internal' ) ? null : `${user}:peer`;
    }

    pollEvents( last_id ) {
        const component = required( this.opts, 'component' );
        const want = this.opts.want ? this.opts.want.split( ',' ) : null;

        return this.run( ( as ) => this.poll.pollEvents( as, component, last_id, want ) );
    }

    eventData( i ) {
        return ( this.opts.data === undefined ) ? { n: i } : JSON.parse( this.opts.data );
    }

    /**
     * Let a background worker go for --seconds
     *
     * @param {string} label - what is counted
     * @param {object} worker - archiver, discarder or receiver
     * @param {callable} begin - start it, gets a function to count progress
     */
    async work( label, worker, begin ) {
        const seconds = number( this.opts, 'seconds' );
        let total = 0;
        let errors = 0;
        let stopped = false;

        const onError = ( err, info ) => {
            if ( !stopped ) {
                errors++;
                complainOnce( err, info ); // it may try again many times per second
            }
        };

        this.executor.on( 'notExpected', onError );
        this.push_service.on( 'pushError', onError );
        worker.on( 'workerError', onError );

        if ( worker instanceof this.packages.ReliableReceiver ) {
            worker.on( 'receiverError', onError );
        }

        begin( ( count ) => {
            total += count;
        } );
        await sleep( seconds );
        stopped = true;
        worker.stop();
        print( { [label]: total, errors } );

        if ( errors ) {
            throw new Error( `${errors} errors` );
        }
    }
}

const COMMANDS = {
    async schema( peer ) {
        const { opts, config } = peer;
        const dir = path.join(
            path.dirname( require.resolve( 'futoin-eventstream/package.json' ) ),
            'sql', opts.dwh ? 'dwh' : 'active', config.DB_EVT_TYPE );
        const version = ( file ) => file.split( '__' )[0];
        const files = fs.readdirSync( dir ).sort( ( a, b ) =>
            version( a ).localeCompare( version( b ), 'en', { numeric: true } ) );

        await peer.start();

        for ( const file of files ) {
            const statements = fs.readFileSync( path.join( dir, file ), 'utf8' )
                .replace( /^\s*--.*$/mg, '' )
                .split( /;\s*$/m )
                .filter( ( q ) => q.trim() );

            for ( const q of statements ) {
                await peer.run( ( as ) => peer.ccm.db( 'evt' ).query( as, q ) );
            }
        }

        print( files );
    },

    async add( peer ) {
        const event = required( peer.opts, 'event' );
        const count = number( peer.opts, 'count', 1 );
        const ids = [];

        await peer.start();

        for ( let i = 0; i < count; ++i ) {
            ids.push( await peer.run( ( as ) =>
                peer.gen.addEvent( as, event, peer.eventData( i ) ) ) );
        }

        print( ids );
    },

    async 'add-xfer'( peer ) {
        const event = required( peer.opts, 'event' );
        const count = number( peer.opts, 'count', 1 );

        await peer.start();

        for ( let i = 0; i < count; ++i ) {
            await peer.run( ( as ) => {
                const xfer = peer.ccm.db( 'evt' ).newXfer();
                peer.gen.addXferEvent( xfer, event, peer.eventData( i ) );
                xfer.execute( as );
            } );
        }

        print( { added: count } );
    },

    async register( peer ) {
        const component = required( peer.opts, 'component' );

        await peer.start();
        print( await peer.run( ( as ) => peer.poll.registerConsumer( as, component ) ) );
    },

    async poll( peer ) {
        await peer.start();
        ( await peer.pollEvents( peer.opts['last-id'] || null ) ).forEach( print );
    },

    async drain( peer ) {
        await peer.start();

        let last_id = peer.opts['last-id'] || null;

        for ( ;; ) {
            const events = await peer.pollEvents( last_id );

            if ( !events.length ) {
                break;
            }

            events.forEach( print );
            last_id = events[events.length - 1].id;
        }

        print( { last_id } );
    },

    async archive( peer ) {
        peer.withWarehouse();
        await peer.start();

        const archiver = new peer.packages.DBEventArchiver( peer.ccm );

        await peer.work( 'archived', archiver, ( progress ) => {
            archiver.on( 'processedEvents', progress );
            archiver.start( peer.executor, peer.credentials() );
        } );
    },

    async discard( peer ) {
        await peer.start();

        const discarder = new peer.packages.DBEventDiscarder();

        await peer.work( 'discarded', discarder, ( progress ) => {
            discarder.on( 'eventDiscard', progress );
            discarder.start( peer.ccm, { poll_period_ms: 100 } );
        } );
    },

    async listen( peer ) {
        const component = required( peer.opts, 'component' );
        const want = peer.opts.want ? peer.opts.want.split( ',' ) : null;

        await peer.start();

        const receiver = new peer.packages.ReliableReceiver( peer.ccm );

        await peer.work( 'received', receiver, ( progress ) => {
            receiver.on( 'newEvents', ( events ) => {
                events.forEach( print );
                progress( events.length );
            } );
            receiver.start( peer.executor, peer.credentials(), { component, want } );
        } );
    },
};

// The packages report some problems through the console only, with arguments of
// handlers as a single value
console.log = console.warn = console.error = ( ...args ) => complainOnce(
    ...args.flatMap( ( v ) =>
        ( Object.prototype.toString.call( v ) === '[object Arguments]' ) ? [ v[0], v[1] ] : [ v ] ) );

async function main() {
    const usage = `Usage: node peer.js ${Object.keys( COMMANDS ).join( '|' )} ` +
        `--type ${KINDS.join( '|' )} --db NAME-OR-FILE [OPTIONS]; see README.md`;
    let peer;
    let command;

    try {
        const { values, positionals } = parseArgs( {
            options: OPTIONS,
            allowPositionals: true,
        } );

        if ( positionals.length !== 1 || !Object.hasOwn( COMMANDS, positionals[0] ) ) {
            throw new UsageError( 'exactly one known command is required' );
        }

        command = COMMANDS[positionals[0]];
        peer = new Peer( values );
        await command( peer );
        // All of the output: a pipe takes only so much at once
        await new Promise( ( done ) => process.stdout.write( '', done ) );
        process.exit( 0 );
    } catch ( e ) {
        const is_usage = e instanceof UsageError || /^ERR_PARSE_ARGS/.test( e.code );
        complain( is_usage ? `${e.message}\n${usage}` : e.message );
        process.exit( is_usage ? 2 : 1 );
    }
}

main();
