/* mem: see mem.h. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *mem_calloc(size_t n, size_t size)
{
    return calloc(n ? n : 1, size ? size : 1); /* calloc checks the product */
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    size_t n_bytes;
    if (!mem_mul(n, size, &n_bytes))
        return NULL;
    return realloc(p, n_bytes ? n_bytes : 1); /* size 0 would free, or not, by implementation */
}

static bool mem_pages(size_t n_bytes, size_t *out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!n_bytes)
        n_bytes = 1;
    if (!mem_add(n_bytes, page - 1, out))
        return false;
    *out &= ~(page - 1);
    return true;
}

static void *mem_map_raw(size_t n_bytes)
{
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void *mem_map(size_t n_bytes, bool huge)
{
    size_t len, padded;
    if (!mem_pages(n_bytes, &len))
        return NULL;
    if (!huge || len < MEM_HUGE_PAGE) {
        void *p = mem_map_raw(len);
        /* Where transparent huge pages are always on, one touched byte would cost
         * 2 MiB that no budget has counted. */
        if (p)
            madvise(p, len, MADV_NOHUGEPAGE);
        return p;
    }
    /* Map too much, then cut both ends so that the start lies on a huge page. */
    if (!mem_add(len, MEM_HUGE_PAGE, &padded))
        return NULL;
    char *raw = mem_map_raw(padded);
    if (!raw)
        return NULL;
    char *p = (char *)(((uintptr_t)raw + MEM_HUGE_PAGE - 1) & ~(uintptr_t)(MEM_HUGE_PAGE - 1));
    size_t head = (size_t)(p - raw), tail = padded - head - len;
    if (head)
        munmap(raw, head);
    if (tail)
        munmap(p + len, tail);
    madvise(p, len, MADV_HUGEPAGE); /* advice: a kernel without huge pages refuses it, and all is well */
    return p;
}

void mem_unmap(void *p, size_t n_bytes)
{
    size_t len;
    if (p && mem_pages(n_bytes, &len))
        munmap(p, len);
}

static uint64_t mem_status_field(const char *field)
{
    FILE *f = fopen("/proc/self/status", "re");
    if (!f)
        return 0;
    char line[256];
    unsigned long long kb = 0;
    size_t n = strlen(field);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, field, n) && sscanf(line + n, "%llu", &kb) == 1)
            break;
    fclose(f);
    return (uint64_t)kb * 1024;
}

void mem_reset_peak_rss(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we"); /* proc(5): 5 resets the high water mark */
    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

uint64_t mem_peak_rss(void) { return mem_status_field("VmHWM:"); }
uint64_t mem_rss(void) { return mem_status_field("VmRSS:"); }
