/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/ring/replica_wire.h"

FUZZ_ITEMS(fetch_item)
