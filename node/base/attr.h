/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/attr.h: compiler attributes and the few macros everything needs; the only file with
 * attributes. */
#pragma once

#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define NOINLINE __attribute__((noinline)) /* what is rare stays out of what is not */
#define ALWAYS_INLINE inline __attribute__((always_inline)) /* once for each constant argument */
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define AUTO(fn) __attribute__((cleanup(fn)))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* the member of a const object; the result is const too */
#define container_of_const(ptr, type, member)                                                      \
    ((const type *)(const void *)((const char *)(1 ? (ptr) : &((const type *)0)->member) -         \
                                  offsetof(type, member)))
#define container_of(ptr, type, member)                                                            \
    ((type *)(void *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

/* <uv.h> brings those of <sys/param.h>, in either order */
#ifndef MIN
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

/* assert() stays on in release; assert_slow() only where -DCAIRN_SLOW_ASSERTS is set (debug,
 * sanitizers). */
#ifdef CAIRN_SLOW_ASSERTS
#define assert_slow(x) assert(x)
#else
#define assert_slow(x) ((void)0)
#endif
