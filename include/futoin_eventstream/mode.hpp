/* Features of the compiler: exceptions, and warnings about failures and views that are let go. */
#ifndef FUTOIN_EVENTSTREAM_MODE_HPP
#define FUTOIN_EVENTSTREAM_MODE_HPP

#if !defined(FES_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define FES_NO_EXCEPTIONS
#endif

/* The names of both modes differ to the linker, so that one program may have sources of both. FES_CHECKED stands
 * before what tells of a failure by the value that it gives, which it does without exceptions only. */
#ifdef FES_NO_EXCEPTIONS
#define FES_MODE returning
#define FES_CHECKED [[nodiscard]]
#else
#define FES_MODE throwing
#define FES_CHECKED
#endif

/* Stands behind what a view is taken from. */
#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::lifetimebound)
#define FES_LIFETIMEBOUND [[clang::lifetimebound]]
#elif __has_cpp_attribute(msvc::lifetimebound)
#define FES_LIFETIMEBOUND [[msvc::lifetimebound]]
#endif
#endif
#ifndef FES_LIFETIMEBOUND
#define FES_LIFETIMEBOUND
#endif

#endif
