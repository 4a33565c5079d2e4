/* fuzz_gguf: any bytes as a GGUF file's metadata: an error or a whole object, whose promises then hold.
 * The file is taken to be as long as the bytes, and again with room for tensor data behind them. */
#include "format/gguf.h"

#include "format/dtype.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(x) \
    do { \
        if (!(x)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t sink;

static void use_kv(const struct gguf *g, const struct gguf_kv *kv)
{
    uint32_t u;
    int64_t s;
    float f;
    struct gguf_str str;
    size_t pos = 0;
    uint64_t n_str = 0;
    for (uint64_t i = 0; i <= kv->n && i < 100; i++) {
        bool any = (int)gguf_kv_u32(kv, i, &u) | (int)gguf_kv_i64(kv, i, &s) | (int)gguf_kv_f32(kv, i, &f);
        REQUIRE(!any || i < kv->n);
        sink += any;
    }
    for (; gguf_kv_next_str(kv, &pos, &str); n_str++)
        for (size_t k = 0; k < str.n; k += 64)
            sink += (unsigned char)str.p[k];
    REQUIRE(kv->elem_type != GGUF_STRING || n_str == kv->n);
    char key[256];
    if (kv->key.n < sizeof key && !memchr(kv->key.p, 0, kv->key.n)) {
        memcpy(key, kv->key.p, kv->key.n);
        key[kv->key.n] = 0;
        bool b;
        REQUIRE(gguf_find(g, key) == kv);
        sink += gguf_get_u32(g, key, &u) + gguf_get_f32(g, key, &f) + gguf_get_bool(g, key, &b)
                + gguf_get_str(g, key, &str);
    }
}

static void use(const uint8_t *data, size_t n, uint64_t file_bytes)
{
    struct gguf *g = NULL;
    struct sluice_error err;
    int rc = gguf_parse(data, n, file_bytes, "fuzz", &g, &err);
    if (rc) {
        REQUIRE(!g && rc == err.code && rc < 0 && err.msg[0] && !strchr(err.msg, '\n'));
        return;
    }
    REQUIRE(gguf_memory_bytes(g) <= 16 * n + 4096); /* nothing is allocated for a lie */
    for (uint64_t i = 0; i < gguf_n_kv(g); i++)
        use_kv(g, gguf_kv_at(g, i));
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        REQUIRE(dtype_get(t->type) && t->n_dims >= 1 && t->n_dims <= 4 && t->n_bytes > 0);
        REQUIRE(t->offset >= gguf_data_offset(g, 0) && t->offset <= file_bytes
                && t->n_bytes <= file_bytes - t->offset);
        REQUIRE(gguf_find_tensor(g, t->name) == t);
        if (i > 0) {
            const struct gguf_tensor *p = t - 1;
            REQUIRE(p->offset + p->n_bytes <= t->offset ||
                    (p->offset == t->offset && p->n_bytes == t->n_bytes));
        }
    }
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    use(data, n, n);
    use(data, n, (uint64_t)n + 65536);
    return 0;
}
