// System calls that fail when a test wants them to. What is linked with disk_faults.c has these
// functions in place of the C library's for everything in the executable, the libraries under test
// included: nothing that touches files goes around them. Only files below one folder count.
//
// Syncs of those files do nothing: no power is lost here, and the kernel's cache is as good as a
// disk.
#ifndef MF_TESTS_UNIT_DISK_FAULTS_H
#define MF_TESTS_UNIT_DISK_FAULTS_H

#include <stdbool.h>

enum disk_call {
    DISK_OPEN,   // of what is there, folders too; fopen
    DISK_CREATE, // open with O_CREAT
    DISK_READ,   // read, pread
    DISK_WRITE,  // write, pwrite
    DISK_SYNC,   // fdatasync, fsync of a file
    DISK_SYNC_FOLDER,
    DISK_CLOSE,
    DISK_RENAME,
    DISK_UNLINK,
    DISK_MKDIR,
    DISK_LIST,   // opendir, readdir
    DISK_STAT,   // fstat
    DISK_ACCESS, // access
    DISK_FREAD,  // fread of what fopen gave
    DISK_CALLS
};
extern const char *const disk_call_names[DISK_CALLS];

enum disk_fault {
    DISK_ONCE,  // one call fails with `error`, and does nothing
    DISK_STAYS, // that one and every later one of its kind
    DISK_SHORT, // one read or write does half of what it was asked for; others are not touched
};

// Counts from here on, below this folder; the `at`th call (from 1) of the kind is the faulty one.
// at = 0: none.
void disk_faults_begin(const char *folder, enum disk_call call, enum disk_fault fault, unsigned at,
                       int error);
// The faulty call has been made. Any thread.
bool disk_fault_came(void);
// How many of the kind were made. Any thread.
unsigned disk_calls_made(enum disk_call call);
// Closes every descriptor of the folder that is still open, as the end of the process would;
// returns how many there were.
unsigned disk_close_left(void);

#endif
