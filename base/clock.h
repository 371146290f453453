// The clocks of a process. Pure code takes them as arguments and never reads them itself.
#ifndef MF_BASE_CLOCK_H
#define MF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

// CLOCK_BOOTTIME in microseconds: for every interval and timeout. Unlike CLOCK_MONOTONIC it goes on
// while the machine is suspended, and so does a lease that others have granted.
uint64_t mf_mono_us(void);

// So long from now by CLOCK_MONOTONIC: for condition variables and semaphores, which know no clock
// that goes on through a suspension.
struct timespec mf_wait_until(uint64_t us);

// Processor time of the calling thread in microseconds: what work cost, whoever else was running.
uint64_t mf_thread_cpu_us(void);

// Microseconds since the Unix epoch: for log lines, and for absolute times given by users.
uint64_t mf_wall_us(void);

// The monotonic and the wall clock at one moment: read again, a few times, where the thread was put
// aside in between.
void mf_clocks_us(uint64_t *mono_us, uint64_t *wall_us);

#endif
