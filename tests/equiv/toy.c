/* The toy table of ops, compiled into equiv. */
#include "toy_ops/toy_ops.c"
