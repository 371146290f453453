# Builds a mutant of the simulator and runs it: the bug that it carries must break a rule.
# -DBUILD=<build folder> -DMUTANT=<target> -DSEEDS=A..B
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD} --target ${MUTANT}
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${MUTANT} cannot be built; does its patch still apply?\n${output}")
endif()

execute_process(COMMAND ${BUILD}/tests/mutants/${MUTANT} --seeds ${SEEDS}
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 1 OR NOT output MATCHES "broke a rule")
    message(FATAL_ERROR "${MUTANT} carries a bug that no seed of ${SEEDS} found "
                        "(status ${status})\n${output}")
endif()
message("caught:\n${output}")
