/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/limits.h: what the machine or the container (cgroup v2 or v1) gives to this process.
 */
#pragma once

#include <stdint.h>

unsigned limits_cpus(void);         /* >= 1: affinity mask and cgroup quota */
uint64_t limits_memory_bytes(void); /* > 0 */
