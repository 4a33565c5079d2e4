/* gen_gguf_seeds: writes small, valid GGUF files into a folder: where fuzz_gguf begins.
 *
 *   build/tests/references/gen_gguf_seeds tests/fuzz/corpus/fuzz_gguf */
#include "format/gguf.h"

#include "format/dtype.h"

#include <stdlib.h>

static struct sluice_error err;

static void check(int rc)
{
    if (rc) {
        fprintf(stderr, "gen_gguf_seeds: %s\n", err.msg);
        exit(1);
    }
}

/* Variant `v`: from keys alone to all kinds of keys, an alias and tensors of several types. */
static void write_seed(const char *path, int v)
{
    static const float f[2] = {1, 2};
    static const uint32_t u[3] = {1, 2, 3};
    static const struct gguf_str s[3] = {{"a", 1}, {"", 0}, {"token", 5}};
    static const uint32_t types[] = {DTYPE_F32, DTYPE_Q4_K, DTYPE_NVFP4, DTYPE_BF16, DTYPE_IQ1_M, DTYPE_I8};
    struct gguf_writer *w;
    check(gguf_writer_create(path, &w, &err));
    gguf_writer_kv_str(w, "general.architecture", "llama");
    gguf_writer_kv_u32(w, "llama.block_count", 2);
    if (v > 0) {
        gguf_writer_kv_u64(w, "k.u64", UINT64_MAX);
        gguf_writer_kv_i32(w, "k.i32", -1);
        gguf_writer_kv_f32(w, "k.f32", 0.5f);
        gguf_writer_kv_bool(w, "k.bool", true);
        gguf_writer_kv_arr_u32(w, "a.u32", u, 3);
        gguf_writer_kv_arr_f32(w, "a.f32", f, 2);
        gguf_writer_kv_arr_str(w, "tokenizer.ggml.tokens", s, 3);
    }
    for (int i = 0; v > 1 && i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", i);
        gguf_writer_tensor(w, name, types[i], 1 + (uint32_t)i % 4, (uint64_t[]){256, 1, 2, 1});
    }
    if (v > 2)
        gguf_writer_tensor_alias(w, "output.weight", "blk.0.ffn_up.weight");
    check(gguf_writer_begin(w, v > 2 ? 64 : 0, &err));
    static const unsigned char zeros[2048];
    for (int i = 0; v > 1 && i < 6; i++) {
        const struct dtype_info *d = dtype_get(types[i]);
        check(gguf_writer_data(w, zeros, 256 / d->block_elems * d->block_bytes * (i % 4 >= 2 ? 2 : 1), &err));
    }
    check(gguf_writer_finish(w, &err));
    gguf_writer_free(w);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    for (int v = 0; v < 4; v++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed%d.gguf", argv[1], v);
        write_seed(path, v);
    }
    return 0;
}
