/* cgroup: see cgroup.h.  Formats: Linux's Documentation/admin-guide/cgroup-v1, cgroup-v2.rst and
 * proc(5) for /proc/self/cgroup and mountinfo. */
#include "base/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_CAP 4096

static FILE *cgroup_fopen(const char *dir, const char *file)
{
    char path[PATH_CAP];
    int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

static bool cgroup_number(const char *s, uint64_t *out)
{
    if (*s < '0' || *s > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    *out = errno == ERANGE ? UINT64_MAX : v;
    return true;
}

bool cgroup_read(const char *dir, const char *file, uint64_t *out)
{
    FILE *f = cgroup_fopen(dir, file);
    if (!f)
        return false;
    char line[128];
    bool ok = fgets(line, sizeof line, f) && cgroup_number(line, out);
    fclose(f);
    return ok;
}

bool cgroup_read_key(const char *dir, const char *file, const char *key, uint64_t *out)
{
    FILE *f = cgroup_fopen(dir, file);
    if (!f)
        return false;
    char line[256];
    size_t n = strlen(key);
    bool ok = false;
    while (!ok && fgets(line, sizeof line, f))
        ok = !strncmp(line, key, n) && line[n] == ' ' && cgroup_number(line + n + 1, out);
    fclose(f);
    return ok;
}

/* Is `word` one of the comma-separated words of list? */
static bool cgroup_has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *s = list; s; s = strchr(s, ',')) {
        if (*s == ',')
            s++;
        if (!strncmp(s, word, n) && (s[n] == ',' || s[n] == 0))
            return true;
    }
    return false;
}

/* Where the hierarchy is mounted: its mount point, and the group that shows there. */
static bool cgroup_mount(const char *root, int version, const char *controller, char *point, char *shown)
{
    FILE *f = cgroup_fopen(root, "proc/self/mountinfo");
    if (!f)
        return false;
    char *line = NULL;
    size_t cap = 0;
    bool found = false;
    while (!found && getline(&line, &cap, f) > 0) {
        char type[64], super[1024];
        const char *dash = strstr(line, " - ");
        if (!dash || sscanf(dash, " - %63s %*s %1023s", type, super) != 2 ||
            sscanf(line, "%*s %*s %*s %4095s %4095s", shown, point) != 2)
            continue;
        found = version == 2 ? !strcmp(type, "cgroup2")
                             : !strcmp(type, "cgroup") && cgroup_has_word(super, controller);
    }
    free(line);
    fclose(f);
    return found;
}

/* All levels from point + path up to point. */
static void cgroup_climb(const char *root, const char *point, const char *path, int version,
                         void (*fn)(void *arg, const char *dir, int version), void *arg)
{
    char dir[PATH_CAP];
    int n = snprintf(dir, sizeof dir, "%s%s%s", root, point, path);
    if (n < 0 || (size_t)n >= sizeof dir)
        return;
    size_t top = strlen(root) + strlen(point), len = (size_t)n;
    while (len > top && dir[len - 1] == '/')
        dir[--len] = 0;
    for (;;) {
        fn(arg, dir, version);
        if (len <= top)
            return;
        while (len > top && dir[len - 1] != '/')
            len--;
        while (len > top && dir[len - 1] == '/')
            len--;
        dir[len] = 0;
    }
}

void cgroup_each(const char *root, const char *controller,
                 void (*fn)(void *arg, const char *dir, int version), void *arg)
{
    FILE *f = cgroup_fopen(root, "proc/self/cgroup");
    if (!f)
        return;
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, f) > 0) { /* hierarchy:controllers:path */
        line[strcspn(line, "\n")] = 0;
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        list++;
        int version = !*list ? 2 : 1;
        char point[PATH_CAP], shown[PATH_CAP];
        if ((version == 1 && !cgroup_has_word(list, controller)) ||
            !cgroup_mount(root, version, controller, point, shown))
            continue;
        /* In a container the mount may show the group itself, while the path is
         * the host's name for it; and a group outside the namespace begins "/..". */
        size_t n = strlen(shown);
        if (n > 1 && !strncmp(path, shown, n) && (path[n] == '/' || !path[n]))
            path += n;
        else if (n > 1 || !strncmp(path, "/..", 3))
            path += strlen(path);
        cgroup_climb(root, point, path, version, fn, arg);
    }
    free(line);
    fclose(f);
}
