// Work that one reactor hands to another: a function to run there, embedded in what it works on.
#ifndef MF_SERVER_TASK_H
#define MF_SERVER_TASK_H

struct mf_reactor;

struct mf_task {
    struct mf_task *next;
    // Runs on the receiving reactor's thread; may free what the task is embedded in.
    void (*run)(struct mf_reactor *reactor, struct mf_task *task);
};

#endif
