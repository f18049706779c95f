#include "ring/replica/replica.h"
bool replicas_may_read(const struct replicas *r, uint32_t shard, uint32_t epoch){(void)r;(void)shard;(void)epoch;return false;}
enum status replicas_may_write(const struct replicas *r, uint32_t shard, struct err *err){(void)r;(void)shard;(void)err;return OK;}
enum status replicas_new(struct core *core, const struct replica_options *options,struct replicas **out, struct err *err){(void)core;(void)options;(void)err;*out=0;return OK;}
void replicas_stop(struct replicas *r){(void)r;}
void replicas_free(struct replicas *r){(void)r;}
void replicas_install(struct replicas *r, struct ring_map *map, const uint16_t *core_of){(void)r;(void)map;(void)core_of;}
void replicas_block(struct replicas *r, uint64_t position, struct sv entries){(void)r;(void)position;(void)entries;}
void replicas_durable(struct replicas *r, uint64_t position, enum status status,const struct err *err){(void)r;(void)position;(void)status;(void)err;}
void replicas_wait(struct replicas *r, struct replica_wait *wait, const uint32_t *shards,size_t count,void (*done)(struct replica_wait *wait, enum status status,const struct err *err)){(void)r;(void)wait;(void)shards;(void)count;(void)done;}
void replicas_on_frame(struct peer_request *req, struct sv payload, void *ctx){(void)req;(void)payload;(void)ctx;}
