// What goes wrong and when: the timetable of a run's faults, and how it all ends.
//
// Memories are spared: a fault that would make a node forget strikes only while a majority of
// nodes that never forgot remains, for without one a group is lost by design.
#ifndef MF_SIM_FAULTS_H
#define MF_SIM_FAULTS_H

#include <stdint.h>

struct sim;
struct sim_node;
struct sim_event;

// Schedules the first fault of each kind.
void sim_faults_start(struct sim *sim);
// A fault is due: it strikes, and the next of its kind is scheduled.
void sim_faults_strike(struct sim *sim, const struct sim_event *event);
// A node that is down starts, unless something keeps it down.
void sim_faults_restart(struct sim *sim, uint16_t index);
// The replica there, if it is still held, is not any more.
void sim_faults_release(struct sim *sim, uint16_t index, uint32_t group);
// No more faults, and whoever is down comes back; but a minority may stay away for good.
void sim_faults_heal(struct sim *sim);

#endif
