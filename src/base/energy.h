/* energy: joules used so far, where the system counts them.
 *
 * First the package counters of Linux's powercap (RAPL of Intel and AMD; kernels let root alone read them): the
 * processor without the rest.  Else batteries that are discharging: the whole machine, in steps of 10 mWh (36 J) on
 * many, so that only phases of a minute and more mean something.  A virtual machine has neither as a rule.
 * Paths are taken under `root` ("" for the real system), so that tests can give a made-up tree. */
#ifndef SLUICE_BASE_ENERGY_H
#define SLUICE_BASE_ENERGY_H

/* < 0: not measurable here.  Only differences mean something, and one below 0 is a counter that wrapped. */
double energy_joules(const char *root);

#endif
