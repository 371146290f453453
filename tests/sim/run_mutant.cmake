# Builds a mutant of the simulator and runs it: the bug that it carries must break a rule that says
# what may never happen. That a group comes to a standstill is not enough: any mistake can do that.
# Where a line `Breaks: RULE` stands on top of the patch, it must be that rule. A line `Try: SEED`
# names a seed that is looked at first, for a bug that few seeds find.
# -DBUILD=<build folder> -DMUTANT=<target> -DPATCH=<file> -DSEEDS_MAX=<number> -DJOBS=<number>
# -DKIND=<flag of another kind of run, or nothing>
set(CHUNK 50)
set(STANDSTILL "once faults stop|every op comes back|a timer that fires|can tell all memories")

execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD} --target ${MUTANT}
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${MUTANT} cannot be built; does its patch still apply?\n${output}")
endif()

file(STRINGS ${PATCH} wanted REGEX "^Breaks: " LIMIT_COUNT 1)
string(REPLACE "Breaks: " "" wanted "${wanted}")

file(STRINGS ${PATCH} try REGEX "^Try: " LIMIT_COUNT 1)
string(REPLACE "Try: " "" first "${try}")
set(next 1)
if(NOT first)
    set(first 1)
    math(EXPR next "1 + ${CHUNK}")
endif()
set(other "")
while(first LESS_EQUAL SEEDS_MAX)
    math(EXPR last "${first} + ${CHUNK} - 1")
    execute_process(COMMAND ${BUILD}/tests/mutants/${MUTANT} ${KIND} --seeds ${first}..${last}
                            --jobs ${JOBS} --keep-going
                    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT status MATCHES "^[01]$")
        message(FATAL_ERROR "${MUTANT} does not run (status ${status})\n${output}")
    endif()
    string(REGEX MATCHALL "seed [0-9]+ broke a rule[^\n]*\n  rule: [^\n]*\n  seen: [^\n]*"
           failures "${output}")
    foreach(failure IN LISTS failures)
        string(REGEX REPLACE ".*\n  rule: ([^\n]*)\n.*" "\\1" rule "${failure}")
        if((wanted AND rule STREQUAL wanted) OR (NOT wanted AND NOT rule MATCHES "${STANDSTILL}"))
            message("caught:\n${failure}")
            return()
        endif()
        list(APPEND other "${rule}")
    endforeach()
    set(first ${next})
    math(EXPR next "${next} + ${CHUNK}")
endwhile()
list(REMOVE_DUPLICATES other)
message(FATAL_ERROR "${MUTANT} carries a bug that no seed up to ${SEEDS_MAX} found; what broke "
                    "instead: ${other}")
