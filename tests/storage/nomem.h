/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/nomem.h: allocations that fail. malloc and its kin are wrapped by the linker
 * (nomem_args in meson.build), so those of the tested code and of the test count, those inside of
 * shared libraries do not. For programs of one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* While it is on, the n-th allocation fails (1 is the first; 0: none does), and all behind it,
 * too, unless once. It is off afterwards; what was counted before is forgotten. */
void nomem_arm(uint64_t n, bool once);
void nomem_on(bool on);
/* Since it was armed, while it was on. */
uint64_t nomem_failed(void);
uint64_t nomem_allocations(void);
