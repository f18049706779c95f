/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/list.h: intrusive circular doubly linked list. A node on no list points to itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next;
};

static inline void list_init(struct list_node *n) {
    n->prev = n->next = n;
}
static inline bool list_is_empty(const struct list_node *head) {
    return head->next == head;
}
static inline void list_push_back(struct list_node *head, struct list_node *n) {
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}
static inline void list_push_front(struct list_node *head, struct list_node *n) {
    list_push_back(head->next, n);
}
static inline void list_remove(struct list_node *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
static inline struct list_node *list_pop_front(struct list_node *head) {
    if (list_is_empty(head)) return NULL;
    struct list_node *n = head->next;
    list_remove(n);
    return n;
}
#define LIST_FOREACH(n, head) for (struct list_node *n = (head)->next; n != (head); n = n->next)
#define LIST_FOREACH_SAFE(n, head)                                                                 \
    for (struct list_node *n = (head)->next, *n##_next = n->next; n != (head);                     \
         n = n##_next, n##_next = n->next)
