/* pause: how long a thread spins before it sleeps, and what it does meanwhile: lets a sibling on the same core go first. */
#ifndef SLUICE_BASE_PAUSE_H
#define SLUICE_BASE_PAUSE_H

/* How long a thread waits awake before it sleeps.  A sleeper takes 50 us to wake, several times that on virtual machines, and
 * while experts stream there is something to do every few milliseconds: about as long as one layer's reads take. */
#define PAUSE_SPIN_NS 3000000u

static inline void pause_spin(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
