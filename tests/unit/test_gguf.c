/* test_gguf: what the writer writes the reader reads; split files; and every kind of damage is one clear
 * error that names what is wrong. */
#include "format/gguf.h"

#include "format/dtype.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];
static struct sluice_error err;

static const char *in_dir(const char *name)
{
    static char path[2][160];
    static int k;
    k ^= 1;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/sluice_test_gguf_%d", (int)getpid());
    return mkdir(dir, 0700);
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(dir); /* fails if a test or the writer left something behind */
}

/* ---- round trip ---- */

static void describe(struct gguf_writer *w)
{
    static const uint32_t u[3] = {1, 2, UINT32_MAX};
    static const int32_t i[2] = {-1, INT32_MIN};
    static const float f[2] = {0.5f, -3.0f};
    static const struct gguf_str s[3] = {{"alpha", 5}, {"", 0}, {"b\0c", 3}};
    gguf_writer_kv_str(w, "general.architecture", "llama");
    gguf_writer_kv_u32(w, "a.u32", 7);
    gguf_writer_kv_u64(w, "a.u64", UINT64_MAX);
    gguf_writer_kv_i32(w, "a.i32", -5);
    gguf_writer_kv_f32(w, "a.f32", 1.25f);
    gguf_writer_kv_bool(w, "a.yes", true);
    gguf_writer_kv_bool(w, "a.no", false);
    gguf_writer_kv_str(w, "a.empty", "");
    gguf_writer_kv_arr_u32(w, "arr.u32", u, 3);
    gguf_writer_kv_arr_i32(w, "arr.i32", i, 2);
    gguf_writer_kv_arr_f32(w, "arr.f32", f, 2);
    gguf_writer_kv_arr_str(w, "arr.str", s, 3);
    gguf_writer_kv_arr_u32(w, "arr.none", u, 0);
    gguf_writer_tensor(w, "first", DTYPE_F32, 1, (uint64_t[]){5});
    gguf_writer_tensor(w, "quants", DTYPE_Q4_K, 3, (uint64_t[]){512, 3, 2});
    gguf_writer_tensor_alias(w, "again", "quants");
    gguf_writer_tensor(w, "last", DTYPE_I8, 2, (uint64_t[]){3, 1});
    gguf_writer_tensor_alias(w, "again2", "again");
}

static void write_good(const char *path, uint32_t alignment)
{
    struct gguf_writer *w;
    assert_int_equal(gguf_writer_create(path, &w, &err), 0);
    describe(w);
    assert_int_equal(gguf_writer_begin(w, alignment, &err), 0);
    unsigned char data[20 + 12 * 144 + 3];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + 1);
    assert_int_equal(gguf_writer_data(w, data, 20, &err), 0);
    assert_int_equal(gguf_writer_data(w, data + 20, 1000, &err), 0); /* one tensor in two calls */
    assert_int_equal(gguf_writer_data(w, data + 1020, 12 * 144 - 1000, &err), 0);
    assert_int_equal(access(path, F_OK), -1); /* not there before it is whole */
    assert_int_equal(gguf_writer_finish(w, &err), SLUICE_EINVAL);
    assert_non_null(strstr(err.msg, "last"));
    assert_int_equal(gguf_writer_data(w, data, 4, &err), SLUICE_EINVAL); /* more than "last" has */
    assert_int_equal(gguf_writer_data(w, data + 20 + 12 * 144, 3, &err), 0);
    assert_int_equal(gguf_writer_data(w, data, 1, &err), SLUICE_EINVAL);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(w);
}

static void check_scalars(const struct gguf *g)
{
    uint32_t u = 0;
    int64_t i = 0;
    float f = 0;
    bool b = false;
    struct gguf_str s;
    assert_true(gguf_get_str(g, "general.architecture", &s));
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.p, "llama", 5);
    assert_true(gguf_get_u32(g, "a.u32", &u));
    assert_int_equal(u, 7);
    assert_false(gguf_get_u32(g, "a.u64", &u)); /* does not fit */
    assert_false(gguf_kv_i64(gguf_find(g, "a.u64"), 0, &i));
    assert_false(gguf_get_u32(g, "a.i32", &u));
    assert_true(gguf_kv_i64(gguf_find(g, "a.i32"), 0, &i));
    assert_int_equal(i, -5);
    assert_true(gguf_get_f32(g, "a.f32", &f));
    assert_true(f == 1.25f);
    assert_false(gguf_get_f32(g, "a.u32", &f));
    assert_true(gguf_get_bool(g, "a.yes", &b) && b);
    assert_true(gguf_get_bool(g, "a.no", &b) && !b);
    assert_false(gguf_get_bool(g, "a.u32", &b));
    assert_false(gguf_get_u32(g, "a.yes", &u));
    assert_true(gguf_get_str(g, "a.empty", &s));
    assert_int_equal(s.n, 0);
    assert_false(gguf_get_str(g, "absent", &s));
    assert_null(gguf_find(g, "absent"));
}

static void check_arrays(const struct gguf *g)
{
    uint32_t u = 0;
    int64_t i = 0;
    float f = 0;
    struct gguf_str s;
    const struct gguf_kv *kv = gguf_find(g, "arr.u32");
    assert_int_equal(kv->type, GGUF_ARRAY);
    assert_int_equal(kv->n, 3);
    assert_true(gguf_kv_u32(kv, 2, &u) && u == UINT32_MAX);
    assert_false(gguf_kv_u32(kv, 3, &u));
    assert_false(gguf_get_u32(g, "arr.u32", &u)); /* not a scalar */
    assert_true(gguf_kv_i64(gguf_find(g, "arr.i32"), 1, &i) && i == INT32_MIN);
    assert_true(gguf_kv_f32(gguf_find(g, "arr.f32"), 1, &f) && f == -3.0f);
    assert_int_equal(gguf_find(g, "arr.none")->n, 0);
    kv = gguf_find(g, "arr.str");
    size_t pos = 0;
    assert_true(gguf_kv_next_str(kv, &pos, &s) && s.n == 5);
    assert_true(gguf_kv_next_str(kv, &pos, &s) && s.n == 0);
    assert_true(gguf_kv_next_str(kv, &pos, &s) && s.n == 3 && memcmp(s.p, "b\0c", 3) == 0);
    assert_false(gguf_kv_next_str(kv, &pos, &s));
}

static void check_tensors(const struct gguf *g, const char *path, uint32_t alignment)
{
    assert_int_equal(gguf_n_tensors(g), 5);
    const struct gguf_tensor *t = gguf_find_tensor(g, "quants"), *a = gguf_find_tensor(g, "again2");
    assert_int_equal(t->type, DTYPE_Q4_K);
    assert_int_equal(t->n_dims, 3);
    assert_int_equal(t->n_bytes, 12 * 144);
    assert_true(t->ne[0] == 512 && t->ne[1] == 3 && t->ne[2] == 2 && t->ne[3] == 1);
    assert_true(a->offset == t->offset && a->n_bytes == t->n_bytes && a != t);
    for (uint64_t i = 0; i < 5; i++) {
        const struct gguf_tensor *x = gguf_tensor_at(g, i);
        assert_ptr_equal(gguf_find_tensor(g, x->name), x);
        assert_true(i == 0 || x[-1].offset <= x->offset);
        assert_int_equal((x->offset - gguf_data_offset(g, 0)) % alignment, 0);
    }
    assert_int_equal(gguf_data_offset(g, 0) % alignment, 0);
    assert_null(gguf_tensor_at(g, 5));
    assert_null(gguf_find_tensor(g, "quant"));
    FILE *f = fopen(path, "rb");
    unsigned char byte[2];
    assert_int_equal(fseek(f, (long)t->offset, SEEK_SET), 0);
    assert_int_equal(fread(byte, 1, 2, f), 2);
    assert_int_equal(byte[0], (unsigned char)(20 * 7 + 1));
    fclose(f);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 8, 4096};
    for (int k = 0; k < 3; k++) {
        const char *path = in_dir("good.gguf");
        uint32_t alignment = alignments[k] ? alignments[k] : 32;
        write_good(path, alignments[k]);
        struct gguf *g;
        assert_int_equal(gguf_open(path, &g, &err), 0);
        assert_int_equal(gguf_version(g), 3);
        assert_int_equal(gguf_n_files(g), 1);
        assert_string_equal(gguf_path(g, 0), path);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(gguf_file_bytes(g, 0), st.st_size);
        assert_true(gguf_memory_bytes(g) > 1000 && gguf_memory_bytes(g) < 8192);
        assert_int_equal(gguf_n_kv(g), 13 + (alignment != 32));
        check_scalars(g);
        check_arrays(g);
        check_tensors(g, path, alignment);
        gguf_close(g);
        unlink(path);
    }
}

static void test_copy(void **state)
{
    (void)state;
    struct gguf *g, *h;
    struct gguf_writer *w;
    write_good(in_dir("a.gguf"), 64);
    assert_int_equal(gguf_open(in_dir("a.gguf"), &g, &err), 0);
    assert_int_equal(gguf_writer_create(in_dir("b.gguf"), &w, &err), 0);
    for (uint64_t i = 0; i < gguf_n_kv(g); i++)
        gguf_writer_kv_copy(w, gguf_kv_at(g, i));
    assert_int_equal(gguf_writer_begin(w, 0, &err), 0);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(w);
    assert_int_equal(gguf_open(in_dir("b.gguf"), &h, &err), 0);
    assert_int_equal(gguf_n_kv(h), 13); /* the alignment is the writer's own affair */
    for (uint64_t i = 0; i < gguf_n_kv(h); i++) {
        char key[64];
        const struct gguf_kv *b = gguf_kv_at(h, i);
        snprintf(key, sizeof key, "%.*s", (int)b->key.n, b->key.p);
        const struct gguf_kv *a = gguf_find(g, key);
        assert_true(a->type == b->type && a->elem_type == b->elem_type && a->n == b->n &&
                    a->n_bytes == b->n_bytes);
        assert_memory_equal(a->p, b->p, a->n_bytes);
    }
    gguf_close(g);
    gguf_close(h);
    unlink(in_dir("a.gguf"));
    unlink(in_dir("b.gguf"));
}

static void expect_writer_fails(void (*bad)(struct gguf_writer *w), const char *why)
{
    struct gguf_writer *w;
    assert_int_equal(gguf_writer_create(in_dir("bad.gguf"), &w, &err), 0);
    gguf_writer_kv_u32(w, "k", 1);
    gguf_writer_tensor(w, "t", DTYPE_F32, 1, (uint64_t[]){4});
    bad(w);
    gguf_writer_kv_u32(w, "after", 1);
    assert_int_equal(gguf_writer_begin(w, 0, &err), SLUICE_EINVAL);
    if (!strstr(err.msg, why))
        fail_msg("expected \"%s\" in: %s", why, err.msg);
    gguf_writer_free(w);
}

static void bad_twice(struct gguf_writer *w) { gguf_writer_kv_bool(w, "k", true); }
static void bad_tensor(struct gguf_writer *w) { gguf_writer_tensor(w, "t", DTYPE_F16, 1, (uint64_t[]){4}); }
static void bad_row(struct gguf_writer *w) { gguf_writer_tensor(w, "u", DTYPE_Q4_K, 1, (uint64_t[]){100}); }
static void bad_alias(struct gguf_writer *w) { gguf_writer_tensor_alias(w, "u", "nothing"); }

static void test_writer_errors(void **state)
{
    (void)state;
    struct gguf_writer *w;
    expect_writer_fails(bad_twice, "k");
    expect_writer_fails(bad_tensor, "t");
    expect_writer_fails(bad_row, "u");
    expect_writer_fails(bad_alias, "u");
    assert_int_equal(gguf_writer_create("/dev/null", &w, &err), SLUICE_EINVAL);
    assert_int_equal(gguf_writer_create("/nonexistent/x.gguf", &w, &err), 0);
    assert_int_equal(gguf_writer_begin(w, 0, &err), SLUICE_EIO);
    gguf_writer_free(w);
    /* A writer given up midway leaves nothing (teardown's rmdir checks). */
    assert_int_equal(gguf_writer_create(in_dir("half.gguf"), &w, &err), 0);
    gguf_writer_tensor(w, "t", DTYPE_F32, 1, (uint64_t[]){4});
    assert_int_equal(gguf_writer_begin(w, 0, &err), 0);
    gguf_writer_free(w);
}

/* ---- split files ---- */

static void write_part(const char *name, int no, int count, int total, const char *tensor)
{
    struct gguf_writer *w;
    assert_int_equal(gguf_writer_create(in_dir(name), &w, &err), 0);
    if (no == 0)
        gguf_writer_kv_str(w, "general.architecture", "llama");
    if (count >= 0) {
        gguf_writer_kv_u32(w, "split.no", (uint32_t)no);
        gguf_writer_kv_u32(w, "split.count", (uint32_t)count);
        gguf_writer_kv_i32(w, "split.tensors.count", total);
    }
    if (tensor)
        gguf_writer_tensor(w, tensor, DTYPE_F32, 1, (uint64_t[]){8});
    assert_int_equal(gguf_writer_begin(w, 0, &err), 0);
    if (tensor)
        assert_int_equal(gguf_writer_data(w, "0123456789abcdef0123456789abcdef", 32, &err), 0);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(w);
}

#define P1 "m-00001-of-00003.gguf"
#define P2 "m-00002-of-00003.gguf"
#define P3 "m-00003-of-00003.gguf"

static void write_split(void)
{
    write_part(P1, 0, 3, 2, NULL);
    write_part(P2, 1, 3, 2, "x");
    write_part(P3, 2, 3, 2, "a");
}

static void expect_open_fails(const char *name, int code, const char *why)
{
    struct gguf *g = NULL;
    int rc = gguf_open(in_dir(name), &g, &err);
    if (rc != code || g || !strstr(err.msg, why) || strchr(err.msg, '\n'))
        fail_msg("%s: expected %d and \"%s\", got %d and: %s", name, code, why, rc, err.msg);
}

static void test_split(void **state)
{
    (void)state;
    struct gguf *g;
    static const char *const parts[] = {P1, P2, P3};
    write_split();
    for (int i = 0; i < 3; i++) { /* any part opens all */
        assert_int_equal(gguf_open(in_dir(parts[i]), &g, &err), 0);
        assert_int_equal(gguf_n_files(g), 3);
        assert_int_equal(gguf_n_tensors(g), 2);
        assert_non_null(gguf_find(g, "general.architecture"));
        assert_int_equal(gguf_find_tensor(g, "x")->file, 1);
        assert_int_equal(gguf_find_tensor(g, "a")->file, 2);
        assert_string_equal(gguf_tensor_at(g, 0)->name, "x"); /* by file, then offset */
        assert_non_null(strstr(gguf_path(g, 2), P3));
        gguf_close(g);
    }
    write_part(P3, 2, 3, 2, "x");
    expect_open_fails(P1, SLUICE_EFORMAT, "tensor x occurs twice");
    write_part(P3, 1, 3, 2, "a");
    expect_open_fails(P1, SLUICE_EFORMAT, "says that it is part 2 of 3");
    write_part(P3, -1, -1, 2, "a");
    expect_open_fails(P2, SLUICE_EFORMAT, "no split.no");
    write_part(P3, 2, 3, 2, NULL);
    expect_open_fails(P1, SLUICE_EFORMAT, "split.tensors.count is 2, but the parts hold 1");
    unlink(in_dir(P3));
    expect_open_fails(P1, SLUICE_EIO, P3 ": part 3 of 3 of this model is missing");
    rename(in_dir(P1), in_dir("renamed.gguf"));
    expect_open_fails(P2, SLUICE_EIO, P1 ": part 1 of 3 of this model is missing");
    expect_open_fails("renamed.gguf", SLUICE_EFORMAT, "one of 3 parts of a split model");
    expect_open_fails(P3, SLUICE_EIO, "cannot open");
    unlink(in_dir("renamed.gguf"));
    unlink(in_dir(P2));
    write_part("m-00001-of-00001.gguf", 0, -1, 1, "x"); /* one part needs no keys */
    assert_int_equal(gguf_open(in_dir("m-00001-of-00001.gguf"), &g, &err), 0);
    gguf_close(g);
    unlink(in_dir("m-00001-of-00001.gguf"));
}

/* ---- damage: files made byte by byte ---- */

struct bytes { unsigned char p[4096]; size_t n; };

static void put(struct bytes *b, const void *p, size_t n)
{
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void put32(struct bytes *b, uint32_t v) { put(b, &v, 4); }
static void put64(struct bytes *b, uint64_t v) { put(b, &v, 8); }
static void put_str(struct bytes *b, const char *s)
{
    put64(b, strlen(s));
    put(b, s, strlen(s));
}
static void put_header(struct bytes *b, uint32_t version, uint64_t n_tensor, uint64_t n_kv)
{
    b->n = 0;
    put(b, "GGUF", 4);
    put32(b, version);
    put64(b, n_tensor);
    put64(b, n_kv);
}
static void put_tensor(struct bytes *b, const char *name, uint32_t type, uint32_t n_dims, uint64_t n,
                       uint64_t rows, uint64_t offset)
{
    put_str(b, name);
    put32(b, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        put64(b, d == 0 ? n : d == 1 ? rows : 1);
    put32(b, type);
    put64(b, offset);
}
static void put_kv_u32(struct bytes *b, const char *key, uint32_t v)
{
    put_str(b, key);
    put32(b, GGUF_U32);
    put32(b, v);
}

static void expect(const struct bytes *b, uint64_t data_bytes, int code, const char *why)
{
    struct gguf *g = NULL;
    uint64_t file_bytes = data_bytes ? (b->n + 31) / 32 * 32 + data_bytes : b->n;
    int rc = gguf_parse(b->p, b->n, file_bytes, "in.gguf", &g, &err);
    if (rc != code || (code == 0) != (g != NULL))
        fail_msg("expected %d (\"%s\"), got %d: %s", code, why, rc, rc ? err.msg : "");
    if (rc && (!strstr(err.msg, why) || strncmp(err.msg, "in.gguf: ", 9) != 0 || err.code != rc))
        fail_msg("expected \"%s\" in: %s", why, err.msg);
    gguf_close(g);
}

static void test_header_damage(void **state)
{
    (void)state;
    struct bytes b;
    put_header(&b, 3, 0, 0);
    expect(&b, 0, 0, "");
    put_header(&b, 2, 0, 0);
    expect(&b, 0, 0, "");
    put_header(&b, 1, 0, 0);
    expect(&b, 0, SLUICE_EUNSUPPORTED, "version 1");
    put_header(&b, 4, 0, 0);
    expect(&b, 0, SLUICE_EUNSUPPORTED, "version 4");
    put_header(&b, 0x03000000, 0, 0);
    expect(&b, 0, SLUICE_EUNSUPPORTED, "big-endian");
    put_header(&b, 3, 0, 0);
    memcpy(b.p, "GGML", 4);
    expect(&b, 0, SLUICE_EFORMAT, "not a GGUF file");
    put_header(&b, 3, UINT64_MAX, 0);
    expect(&b, 0, SLUICE_EFORMAT, "absurd number of tensors");
    put_header(&b, 3, 0, UINT64_MAX);
    expect(&b, 0, SLUICE_EFORMAT, "absurd number of keys");
    put_header(&b, 3, 1 << 20, 0);
    expect(&b, (uint64_t)1 << 40, SLUICE_EFORMAT, "truncated");
    for (size_t n = 0; n < 24; n++) {
        put_header(&b, 3, 0, 0);
        b.n = n;
        expect(&b, 0, SLUICE_EFORMAT, n < 4 ? "not a GGUF file" : "truncated");
    }
}

static void test_key_damage(void **state)
{
    (void)state;
    struct bytes b;
    put_header(&b, 3, 0, 2);
    put_kv_u32(&b, "k", 1);
    put_kv_u32(&b, "k", 1);
    expect(&b, 0, SLUICE_EFORMAT, "key k occurs twice");
    put_header(&b, 3, 0, 1);
    put_kv_u32(&b, "", 1);
    expect(&b, 0, SLUICE_EFORMAT, "name of 0 bytes");
    put_header(&b, 3, 0, 1);
    put_str(&b, "bad\nkey");
    put32(&b, 13);
    put32(&b, 0);
    expect(&b, 0, SLUICE_EFORMAT, "key bad?key: unknown value type 13");
    put_header(&b, 3, 0, 1);
    put_str(&b, "nested");
    put32(&b, GGUF_ARRAY);
    put32(&b, GGUF_ARRAY);
    put64(&b, 0);
    expect(&b, 0, SLUICE_EFORMAT, "array of arrays");
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX / 8 + 1, 1u << 30, 3};
    for (int i = 0; i < 4; i++) {
        for (uint32_t type = 0; type <= GGUF_F64; type++) {
            put_header(&b, 3, 0, 1);
            put_str(&b, "long");
            put32(&b, GGUF_ARRAY);
            put32(&b, type);
            put64(&b, lengths[i]);
            put(&b, "\1\1", 2);
            expect(&b, 0, SLUICE_EFORMAT, "");
        }
    }
    put_header(&b, 3, 0, 1);
    put_str(&b, "s");
    put32(&b, GGUF_STRING);
    put64(&b, UINT64_MAX - 3);
    expect(&b, 0, SLUICE_EFORMAT, "truncated");
    static const uint32_t bad_alignment[] = {0, 3, 48};
    for (int i = 0; i < 3; i++) {
        put_header(&b, 3, 0, 1);
        put_kv_u32(&b, "general.alignment", bad_alignment[i]);
        expect(&b, 0, SLUICE_EFORMAT, "not a power of two");
    }
}

/* One tensor's description with one thing wrong. */
static void expect_tensor(const char *name, uint32_t type, uint32_t n_dims, uint64_t n, uint64_t rows,
                          uint64_t offset, int code, const char *why)
{
    struct bytes b;
    put_header(&b, 3, 1, 0);
    put_tensor(&b, name, type, n_dims, n, rows, offset);
    expect(&b, 1024, code, why);
}

static void test_tensor_damage(void **state)
{
    (void)state;
    expect_tensor("t", DTYPE_F32, 2, 64, 4, 0, 0, "");
    expect_tensor("t", DTYPE_F32, 2, 64, 3, 256, 0, "");
    expect_tensor("t", DTYPE_F32, 2, 64, 4, 32, SLUICE_EFORMAT, "truncated: tensor t lies at");
    expect_tensor("t", DTYPE_F32, 2, 64, 5, 0, SLUICE_EFORMAT, "truncated: tensor t lies at");
    expect_tensor("t", DTYPE_F32, 0, 64, 1, 0, SLUICE_EFORMAT, "tensor t has 0 dimensions");
    expect_tensor("t", DTYPE_F32, 5, 64, 1, 0, SLUICE_EFORMAT, "tensor t has 5 dimensions");
    expect_tensor("t", DTYPE_F32, 2, 64, 0, 0, SLUICE_EFORMAT, "dimension 1 of size 0");
    expect_tensor("t", DTYPE_F32, 2, UINT64_MAX / 2, 16, 0, SLUICE_EFORMAT, "overflow");
    expect_tensor("t", DTYPE_F32, 1, INT64_MAX, 1, 0, SLUICE_EFORMAT, "overflow");
    expect_tensor("t", DTYPE_Q4_K, 1, 128, 1, 0, SLUICE_EFORMAT, "not a whole number of q4_k blocks");
    expect_tensor("t", 4, 1, 64, 1, 0, SLUICE_EUNSUPPORTED, "tensor t has unknown type 4");
    expect_tensor("t", 99, 1, 64, 1, 0, SLUICE_EUNSUPPORTED, "unknown type 99");
    expect_tensor("t", DTYPE_F32, 1, 4, 1, 16, SLUICE_EFORMAT, "not a multiple of the alignment 32");
    expect_tensor("t", DTYPE_F32, 1, 4, 1, UINT64_MAX - 31, SLUICE_EFORMAT, "out of range");
    expect_tensor("t", DTYPE_F32, 1, 4, 1, (uint64_t)1 << 60, SLUICE_EFORMAT, "truncated");
    expect_tensor("", DTYPE_F32, 1, 4, 1, 0, SLUICE_EFORMAT, "unusable name");
}

static void test_overlap(void **state)
{
    (void)state;
    struct bytes b;
    static const struct { uint64_t n, offset; int code; const char *why; } second[] = {
        {64, 256, 0, ""},                                   /* side by side */
        {64, 0, 0, ""},                                     /* shared: same place, same size */
        {32, 0, SLUICE_EFORMAT, "overlap"},                 /* same place, other size */
        {64, 128, SLUICE_EFORMAT, "tensors a and b overlap"},
        {8, 32, SLUICE_EFORMAT, "overlap"},                 /* inside */
    };
    for (int i = 0; i < 5; i++) {
        put_header(&b, 3, 2, 0);
        put_tensor(&b, "a", DTYPE_F32, 1, 64, 1, 0);
        put_tensor(&b, "b", DTYPE_F32, 1, second[i].n, 1, second[i].offset);
        expect(&b, 512, second[i].code, second[i].why);
    }
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", DTYPE_F32, 1, 64, 1, 0);
    put_tensor(&b, "a", DTYPE_F32, 1, 64, 1, 256);
    expect(&b, 512, SLUICE_EFORMAT, "tensor a occurs twice");
}

/* A whole good file cut short at every byte, as a file. */
static void test_truncation(void **state)
{
    (void)state;
    write_good(in_dir("whole.gguf"), 0);
    unsigned char buf[8192];
    FILE *f = fopen(in_dir("whole.gguf"), "rb");
    size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    struct gguf *g;
    assert_int_equal(gguf_parse(buf, n, n, "whole", &g, &err), 0);
    size_t meta = (size_t)gguf_data_offset(g, 0), end = 0;
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        end = end > t->offset + t->n_bytes ? end : (size_t)(t->offset + t->n_bytes);
    }
    gguf_close(g);
    for (size_t k = 0; k < end; k++) {
        assert_int_equal(gguf_parse(buf, k, k, "cut", &g, &err), SLUICE_EFORMAT);
        if (k > 3)
            assert_true(strstr(err.msg, "truncated") || strstr(err.msg, "absurd"));
    }
    assert_int_equal(gguf_parse(buf, meta, end, "cut", &g, &err), 0); /* the last padding may be missing */
    gguf_close(g);
    assert_int_equal(truncate(in_dir("whole.gguf"), (off_t)end - 1), 0);
    expect_open_fails("whole.gguf", SLUICE_EFORMAT, "truncated: tensor last");
    assert_int_equal(truncate(in_dir("whole.gguf"), 100), 0);
    expect_open_fails("whole.gguf", SLUICE_EFORMAT, "truncated");
    assert_int_equal(truncate(in_dir("whole.gguf"), 0), 0);
    expect_open_fails("whole.gguf", SLUICE_EFORMAT, "not a GGUF file");
    unlink(in_dir("whole.gguf"));
    expect_open_fails("whole.gguf", SLUICE_EIO, "cannot open");
    expect_open_fails("", SLUICE_EIO, "not a regular file");
}

/* Every type of value, in version 2 as in 3, with random bytes flipped: no crash (run under sanitizers). */
static void test_flips(void **state)
{
    (void)state;
    struct bytes b;
    static const unsigned char zeros[64];
    put_header(&b, 2, 1, 26);
    for (uint32_t type = 0; type <= GGUF_F64; type++) {
        char key[16];
        uint32_t elem = type == GGUF_ARRAY ? GGUF_U16 : type;
        snprintf(key, sizeof key, "k%u", (unsigned)type);
        put_str(&b, key);
        put32(&b, elem);
        put(&b, zeros, elem == GGUF_STRING || elem > GGUF_ARRAY ? 8 : elem < 2 || elem == GGUF_BOOL ? 1
                       : elem < 4 ? 2 : 4);
        key[0] = 'a';
        put_str(&b, key);
        put32(&b, GGUF_ARRAY);
        put32(&b, elem);
        put64(&b, 1);
        put(&b, zeros, elem == GGUF_STRING || elem > GGUF_ARRAY ? 8 : elem < 2 || elem == GGUF_BOOL ? 1
                       : elem < 4 ? 2 : 4);
    }
    put_tensor(&b, "t", DTYPE_F32, 2, 64, 4, 0);
    expect(&b, 1024, 0, "");
    srand(1);
    for (int i = 0; i < 20000; i++) {
        struct bytes c = b;
        for (int k = rand() % 4; k >= 0; k--)
            c.p[(size_t)rand() % c.n] = (unsigned char)rand();
        struct gguf *g = NULL;
        int rc = gguf_parse(c.p, c.n, c.n + 2048, "flip", &g, &err);
        assert_true((rc == 0) == (g != NULL));
        gguf_close(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_copy),
        cmocka_unit_test(test_writer_errors), cmocka_unit_test(test_split),
        cmocka_unit_test(test_header_damage), cmocka_unit_test(test_key_damage),
        cmocka_unit_test(test_tensor_damage), cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_truncation),    cmocka_unit_test(test_flips),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
