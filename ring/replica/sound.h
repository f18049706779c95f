/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/sound.h: before a primary says of a complete replica that it diverged (and the map
 * throws away what that holds, to fill it anew from here), it makes sure that its own blocks of the
 * shard can be read: else the only good copy of a bad one might go.
 *
 *   ASKED -> READING (all that blocks have of the shard) -> OVER when nothing is bad, else BAD
 *   BAD (sync.h fetches what is bad, also from that very replica) -> OVER when nothing is bad any
 *   more
 *
 * What is not OVER is held back. Once for a process of the member in an epoch: it goes with the
 * member (struct member). One that is in sync is not held back, as the shard waits for it. That the
 * whole log is here, of which it could be filled, does not help: the log may be dropped, as blocks
 * have it all, before the filling is over. Those of many shards are read for together: what began
 * to be held back while blocks are read waits for the next time.
 *
 * Where it cannot help (what it has is bad, too, or is not closed so far, or not of this log) it is
 * asked again, ever more seldom, and stays: while something is bad here it could not be filled, so
 * that giving it up would win nothing, and lose what it has. That ends when the bad block does: it
 * ages out, or is given up on purpose. Reading takes at most SOUND_MS_MAX of its node being up.
 *
 * Thread: the core. */
#pragma once

#include "ring/replica/internal.h"

enum { SOUND_MS_MAX = 3600 * 1000, SOUND_AGAIN_MS = 1000, SOUND_AGAIN_MS_MAX = 64 * 1000 };

/* It diverged: what it holds has been told. */
void sound_begin(struct replicas *r, uint32_t shard, struct member *m);
bool sound_holds(const struct member *m);
/* Some member may be held back. */
bool sound_holds_any(const struct replicas *r);
/* Now and then. */
void sound_look(struct replicas *r);

/* Of which held back member bad ranges of the shard may be asked; 0: of none. */
node_id sound_source(struct replicas *r, uint32_t shard);
/* That one has nothing for what is bad here: told once. */
void sound_cannot(struct replicas *r, uint32_t shard, node_id from);
/* It did not give anything this time. */
void sound_refused(struct replicas *r, uint32_t shard, node_id from);
