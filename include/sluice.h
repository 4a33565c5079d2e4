/* sluice.h: the only public header of libsluice.
 *
 * sluice runs language models that are far larger than RAM by streaming the
 * weights each token needs from the SSD.  The flow is
 *
 *     sluice_model_open -> sluice_model_plan -> sluice_context_create
 *     -> sluice_context_decode (batches of tokens) -> sluice_context_logits
 *     -> sluice_sampler_sample -> sluice_model_decode_text
 *
 * A model is immutable and may be shared by contexts.  A context holds the
 * mutable state of its sequences and is used by one thread at a time.
 *
 * Fallible functions return 0 (or a count) on success and a negative
 * SLUICE_E... code on failure, with one line of detail in the caller's
 * struct sluice_error (which may be NULL).  The library never exits, prints, or
 * reads the environment; it reports through callbacks where the caller sets them.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_VERSION_MAJOR 0
#define SLUICE_VERSION_MINOR 1
#define SLUICE_VERSION_PATCH 0

#if defined(__GNUC__)
#define SLUICE_MUST_CHECK __attribute__((warn_unused_result))
#define SLUICE_API __attribute__((visibility("default")))
#else
#define SLUICE_MUST_CHECK
#define SLUICE_API
#endif

/* ---- errors -------------------------------------------------------------- */

enum sluice_code {
    SLUICE_OK = 0,
    SLUICE_EINVAL = -1,       /* an argument that makes no sense */
    SLUICE_ENOMEM = -2,       /* the system refused memory */
    SLUICE_EIO = -3,          /* a file could not be opened, read or written */
    SLUICE_EFORMAT = -4,      /* a file's content is malformed or truncated */
    SLUICE_EUNSUPPORTED = -5, /* well-formed, but not something sluice can run */
    SLUICE_EBUDGET = -6,      /* does not fit --ram; the message names the number to change */
    SLUICE_ECANCELED = -7,    /* the caller's cancel flag was seen */
    SLUICE_EFULL = -8,        /* no room left in a sequence's context */
};

struct sluice_error {
    int code;       /* enum sluice_code */
    char msg[1024]; /* one line, no trailing newline */
};

SLUICE_API const char *sluice_version(void);

/* ---- model --------------------------------------------------------------- */

struct sluice_model;

/* Opens a GGUF file, or the first file of a split one, reads its metadata and
 * checks that sluice can run it.  Reads no weights, but for samples where a file
 * that `sluice repack` made lies beside it: it is used if it belongs to the model,
 * and an error if not.  A file that holds only a
 * vocabulary opens too; then sluice_model_has_weights() is 0. */
SLUICE_API int sluice_model_open(const char *path, struct sluice_model **out,
                                 struct sluice_error *err) SLUICE_MUST_CHECK;
SLUICE_API void sluice_model_free(struct sluice_model *m);

struct sluice_model_info {
    const char *arch; /* general.architecture; owned by the model, as all strings here */
    const char *name; /* general.name, or "" */
    int has_weights;
    uint32_t n_layer, n_embd, n_vocab, n_ctx_train, n_head, n_head_kv;
    uint32_t n_expert, n_expert_used;          /* 0 for dense models */
    uint64_t file_bytes, tensor_bytes;         /* unique tensor bytes, shared ones counted once */
    uint64_t expert_bytes, dense_bytes;        /* routed experts; all the rest */
    uint64_t expert_bytes_per_token;           /* what top-k of every MoE layer amounts to */
    const char *experts_path; /* the file beside the model that experts are read from (sluice repack), or NULL */
    int32_t bos, eos;                          /* -1 if absent */
    int add_bos, add_eos;
};
SLUICE_API void sluice_model_get_info(const struct sluice_model *m, struct sluice_model_info *out);

/* ---- text ---------------------------------------------------------------- */

enum sluice_tokenize_flags {
    SLUICE_TOKENIZE_BOS = 1,     /* add BOS/EOS where the model asks for them */
    SLUICE_TOKENIZE_SPECIAL = 2, /* read special tokens' text as those tokens */
};

/* Writes up to cap ids; returns the number of ids the text makes (which may
 * exceed cap: call again with more room), or a negative code. */
SLUICE_API int64_t sluice_model_tokenize(const struct sluice_model *m, const char *text,
                                         size_t n_bytes, int flags, int32_t *ids, size_t cap,
                                         struct sluice_error *err) SLUICE_MUST_CHECK;

/* The bytes of one token, not NUL-terminated; *n_bytes 0 for special tokens
 * unless `special`.  Valid while the model lives.  NULL for an id out of range. */
SLUICE_API const char *sluice_model_token_bytes(const struct sluice_model *m, int32_t id,
                                                int special, size_t *n_bytes);
/* 1 if the token ends a turn or the text (EOS, EOT, EOM). */
SLUICE_API int sluice_model_token_is_end(const struct sluice_model *m, int32_t id);

/* A decoder turns a stream of ids into text, holding back bytes that do not
 * yet form whole UTF-8 characters. */
struct sluice_decoder;
SLUICE_API int sluice_decoder_create(const struct sluice_model *m, struct sluice_decoder **out,
                                     struct sluice_error *err) SLUICE_MUST_CHECK;
SLUICE_API void sluice_decoder_free(struct sluice_decoder *d);
/* Text that became whole with this id: points into the decoder, NUL-terminated,
 * valid until the next call. */
SLUICE_API const char *sluice_decoder_push(struct sluice_decoder *d, int32_t id, size_t *n_bytes);
/* What is still held back, as replacement characters; resets the decoder. */
SLUICE_API const char *sluice_decoder_flush(struct sluice_decoder *d, size_t *n_bytes);

struct sluice_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
};
/* Applies the model's chat template: a malloc'ed string for the caller to
 * free, ending where the assistant's answer begins.  SLUICE_EUNSUPPORTED where
 * the model has no template, or one that is not known by name. */
SLUICE_API int sluice_model_apply_template(const struct sluice_model *m,
                                           const struct sluice_message *msgs, size_t n_msgs,
                                           char **out, struct sluice_error *err) SLUICE_MUST_CHECK;
SLUICE_API int sluice_model_has_template(const struct sluice_model *m);

/* ---- plan and context ------------------------------------------------------ */

enum sluice_io {
    SLUICE_IO_AUTO = 0, /* io_uring where the kernel has it, else threads */
    SLUICE_IO_URING,    /* io_uring with O_DIRECT */
    SLUICE_IO_THREADS,  /* pread by a few threads with O_DIRECT */
    SLUICE_IO_BUFFERED, /* pread through the page cache: the budget bounds the process only */
};

enum sluice_act {
    SLUICE_ACT_Q8 = 0, /* int8 activations for quantised weights */
    SLUICE_ACT_F32,    /* float32 activations for every type: the reference mode */
};

enum sluice_kv_type { SLUICE_KV_AUTO = 0, SLUICE_KV_F16, SLUICE_KV_F32, SLUICE_KV_Q8_0 };

#define SLUICE_RAM_AUTO 0ull         /* from MemAvailable and the cgroup's limit */
#define SLUICE_RAM_UNLIMITED UINT64_MAX
#define SLUICE_CACHE_AUTO UINT64_MAX /* what the budget leaves */
#define SLUICE_CACHE_ALL (UINT64_MAX - 1)
#define SLUICE_CACHE_MIN 0ull        /* exactly one token's top-k of one layer */

struct sluice_params {
    uint64_t ram_bytes;          /* SLUICE_RAM_AUTO, or the bound for process and page cache */
    uint64_t expert_cache_bytes; /* SLUICE_CACHE_AUTO, _MIN, _ALL, or bytes */
    uint32_t n_ctx;              /* tokens a sequence can hold; 0 = min(trained, 4096) */
    uint32_t n_seq;              /* sequences a context can hold; 0 = 1 */
    uint32_t n_checkpoint;       /* checkpoints a context can hold */
    uint32_t n_chunk;            /* most tokens a forward pass takes; 0 = chosen by the plan */
    int n_threads;               /* 0 = physical cores */
    enum sluice_io io;
    enum sluice_act act;
    enum sluice_kv_type kv_type; /* AUTO: f32 with SLUICE_ACT_F32, else f16 */
    int no_hint;                 /* 1 switches look-ahead reads off */
    int force_hint;              /* 1 leaves them on even where they do not pay */
    const char *cache_policy;    /* who leaves the expert cache: "lru", "lfu" or "2q"; NULL = "lfu" */
    const char *hot_dir;         /* a folder: what sluice_context_remember keeps there, a new context reads in idle
                                    drive time; NULL = off.  Results do not depend on it. */
    const char *cpu_level;       /* "ref", "avx2", "avx512", "vbmi", "amx"; "neon", "dotprod", "i8mm"; NULL = best */
    uint32_t n_expert_used;      /* 0 = as trained; anything else changes the model */
    const char *io_fault;        /* tests only: a fault script for the I/O layer, or NULL */
    const volatile int *cancel;  /* non-zero: context_create and decode return SLUICE_ECANCELED */
};
SLUICE_API void sluice_params_init(struct sluice_params *p);

/* What will be in memory, and what will stream; a pure function of model and
 * parameters.  All in bytes unless named otherwise. */
struct sluice_plan {
    uint64_t budget;         /* the bound in force */
    uint64_t process;        /* program, libraries, stacks, metadata, tokenizer */
    uint64_t resident;       /* weights pinned in memory, read once at open */
    uint64_t dense_streamed; /* dense weights read again in every forward pass */
    uint64_t dense_ring;     /* the window those pass through */
    uint64_t kv;             /* KV caches of all sequences */
    uint64_t state;          /* recurrent states and checkpoints */
    uint64_t scratch;        /* activations, logits, I/O buffers */
    uint64_t expert_cache;   /* slots for routed experts */
    uint64_t total;          /* the sum */
    uint64_t remainder;      /* budget - total */
    uint32_t n_slots;        /* expert slots in all */
    uint32_t n_slots_layer_min, n_slots_layer_max; /* slots / MoE layers of its size class */
    uint32_t n_expert_units; /* experts in the model, all layers */
    uint32_t n_chunk, n_ctx, n_seq;
    int n_threads;
    int embd_resident;       /* token embedding table in memory, or read row by row */
    uint64_t bytes_per_token_min, bytes_per_token_max; /* read per decoded token: all hits, none */
};
SLUICE_API int sluice_model_plan(const struct sluice_model *m, const struct sluice_params *p,
                                 struct sluice_plan *out,
                                 struct sluice_error *err) SLUICE_MUST_CHECK;

struct sluice_context;
/* Allocates everything that the plan says and reads the resident weights.
 * `progress` (may be NULL) is called now and then with bytes read so far. */
SLUICE_API int sluice_context_create(struct sluice_model *m, const struct sluice_params *p,
                                     void (*progress)(void *user, uint64_t done, uint64_t total),
                                     void *user, struct sluice_context **out,
                                     struct sluice_error *err) SLUICE_MUST_CHECK;
SLUICE_API void sluice_context_free(struct sluice_context *c);
SLUICE_API const struct sluice_plan *sluice_context_plan(const struct sluice_context *c);
/* One line: what is in force (I/O backend, CPU level, activations, cache ...). */
SLUICE_API const char *sluice_context_mode(const struct sluice_context *c);

/* The experts that were used most, as many as the cache holds, are remembered in params.hot_dir (which exists) in one
 * small file a model; the newest 32 stay.  SLUICE_EINVAL without a folder or without routed experts. */
SLUICE_API int sluice_context_remember(const struct sluice_context *c,
                                       struct sluice_error *err) SLUICE_MUST_CHECK;
/* The caller waits for its user: reads what was remembered for about `ms` milliseconds.  Returns 1 while there is more
 * to read, 0 (at once) where there is not.  Otherwise such reads fill pauses of the drive between those on demand. */
SLUICE_API int sluice_context_idle(struct sluice_context *c, uint32_t ms);
/* One line: how many experts were remembered and from where, or why none; "" where hot_dir is NULL. */
SLUICE_API const char *sluice_context_remembered(const struct sluice_context *c);

/* One sequence's part of a batch: n_tok tokens that follow what the sequence
 * holds.  `logits_from`: logits are wanted for tokens logits_from .. n_tok-1 of
 * this part (n_tok for none, n_tok-1 for the last only). */
struct sluice_batch_part {
    uint32_t seq; /* 0 .. n_seq-1 */
    const int32_t *tokens;
    uint32_t n_tok;
    uint32_t logits_from;
};
/* Runs the parts (distinct sequences) through the model, in as many forward
 * passes as the chunk size makes necessary.  SLUICE_EINVAL and SLUICE_EFULL change
 * nothing; on any other failure the sequences of the batch are dropped to empty and must be
 * started again (or rewound to a checkpoint). */
SLUICE_API int sluice_context_decode(struct sluice_context *c,
                                     const struct sluice_batch_part *parts, uint32_t n_parts,
                                     struct sluice_error *err) SLUICE_MUST_CHECK;
/* As above, and hands over the wanted rows as they are made: on_logits gets
 * part, token index in the part, and n_vocab floats.  on_hidden (may be NULL) gets for every
 * token and each il = 0..n_layer the n_embd floats that enter layer il (il = n_layer: what
 * leaves the last one, before the final norm). */
struct sluice_sink {
    void *user;
    void (*on_logits)(void *user, uint32_t part, uint32_t i_tok, const float *logits);
    void (*on_hidden)(void *user, uint32_t part, uint32_t i_tok, uint32_t il, const float *hidden);
};
SLUICE_API int sluice_context_decode_sink(struct sluice_context *c,
                                          const struct sluice_batch_part *parts, uint32_t n_parts,
                                          const struct sluice_sink *sink,
                                          struct sluice_error *err) SLUICE_MUST_CHECK;
/* The last wanted logits of part `part` of the last decode: float[n_vocab],
 * valid until the next decode.  NULL if none were wanted. */
SLUICE_API const float *sluice_context_logits(const struct sluice_context *c, uint32_t part);

SLUICE_API uint32_t sluice_context_seq_len(const struct sluice_context *c, uint32_t seq);
SLUICE_API void sluice_context_seq_drop(struct sluice_context *c, uint32_t seq);
/* dst becomes a copy of src. */
SLUICE_API int sluice_context_seq_fork(struct sluice_context *c, uint32_t src, uint32_t dst,
                                       struct sluice_error *err) SLUICE_MUST_CHECK;
/* A checkpoint remembers where a sequence stands (recurrent states cannot be
 * rolled back); rewind returns the same sequence to it, any number of times, until
 * tokens before that point are written anew.
 * Slots are 0 .. n_checkpoint-1. */
SLUICE_API int sluice_context_checkpoint(struct sluice_context *c, uint32_t seq, uint32_t slot,
                                         struct sluice_error *err) SLUICE_MUST_CHECK;
SLUICE_API int sluice_context_rewind(struct sluice_context *c, uint32_t seq, uint32_t slot,
                                     struct sluice_error *err) SLUICE_MUST_CHECK;

struct sluice_stats { /* since the context was created or the last reset */
    uint64_t n_tok_prefill, n_tok_decode; /* tokens of calls with a part of more than one token, and the others */
    uint64_t ns_prefill, ns_decode;
    uint64_t expert_requests, expert_hits, expert_evictions;
    uint64_t bytes_read;        /* from disk, weights, aligned windows included */
    uint64_t bytes_read_hint;   /* the part of it that hints and remembered experts caused */
    uint64_t bytes_hint_used;   /* the part of that whose experts were asked for */
    /* What the look-ahead foresaw, by one layer [0] and by two [1]: requests for experts of layers that it had
     * looked at, and those of them that it had named. */
    uint64_t hint_requests[2], hint_foreseen[2];
    uint64_t n_tok_hint;        /* of n_tok_decode: with look-ahead reads switched on */
    uint64_t hint_trial_ns[2];  /* a token without [0] and with [1] them, as measured last; 0: not yet */
    uint64_t bytes_touched;     /* weight bytes that kernels read */
    uint64_t reads;
    uint64_t ns_wait;           /* waiting for the disk with nothing to compute */
    uint64_t ns_attn, ns_delta, ns_router, ns_expert, ns_dense, ns_head; /* computing, by phase */
    uint64_t peak_bytes;        /* peak resident memory of the process */
};
SLUICE_API void sluice_context_get_stats(const struct sluice_context *c, struct sluice_stats *out);
SLUICE_API void sluice_context_reset_stats(struct sluice_context *c);

/* ---- sampling -------------------------------------------------------------- */

struct sluice_sampler_params {
    float temp;          /* 0 = greedy */
    uint32_t top_k;      /* 0 = off */
    float top_p;         /* 1 = off */
    float min_p;         /* 0 = off */
    float repeat_penalty; /* 1 = off */
    uint32_t repeat_last_n;
    uint64_t seed;
};
struct sluice_sampler;
SLUICE_API void sluice_sampler_params_init(struct sluice_sampler_params *p);
SLUICE_API int sluice_sampler_create(const struct sluice_sampler_params *p, uint32_t n_vocab,
                                     struct sluice_sampler **out,
                                     struct sluice_error *err) SLUICE_MUST_CHECK;
SLUICE_API void sluice_sampler_free(struct sluice_sampler *s);
/* Tells the sampler of a token in the text (prompt too), for the repeat penalty. */
SLUICE_API void sluice_sampler_accept(struct sluice_sampler *s, int32_t id);
/* Picks a token; the same logits, seed and history pick the same token on any CPU. */
SLUICE_API int32_t sluice_sampler_sample(struct sluice_sampler *s, const float *logits);

#ifdef __cplusplus
}
#endif
#endif
