/* toy_ops: a second table of ops, as a GPU's would be, to keep the seam honest.
 *
 *   host                         | the toy device
 *   ops->write(ref, src) --copy--> queue: [write][norm][matmul] ...      nothing runs
 *   io buffer (ops->host) -------- looked at only when a command runs
 *   ops->wait() ----------------> commands run in order on private memory
 *   ops->read(dst, ref)  <------- private memory
 *
 * Nothing happens before wait(); arrays inside args are copied when an op is enqueued, buffers are read
 * later.  It is strict: it ends the program with one line where a ref leaves its buffer, where a result is
 * read or a buffer freed while commands are enqueued, where host memory that an enqueued command uses was
 * written before it ran, or where an io buffer is used for results. */
#ifndef TESTS_TOY_OPS_H
#define TESTS_TOY_OPS_H

#include "kernels/ops.h"

/* As ops_cpu_create, whose functions compute the results. */
int toy_ops_create(const struct ops_cpu_params *p, struct ops **out,
                   struct sluice_error *err) SLUICE_MUST_CHECK;
/* Commands that wait to be run; and the most that ever did. */
uint64_t toy_ops_pending(const struct ops *o);
uint64_t toy_ops_pending_max(const struct ops *o);

#endif
