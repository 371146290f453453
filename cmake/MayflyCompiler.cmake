# Warnings are errors in our own code; system headers are exempt. format-truncation guesses how long
# strings may be, differently at each optimisation level; snprintf bounds them.
add_library(mf_compiler INTERFACE)
target_compile_options(mf_compiler INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wformat=2
    -Wvla -Werror -fno-omit-frame-pointer -fvisibility=hidden
    $<$<C_COMPILER_ID:GNU>:-Wlogical-op -Wduplicated-cond -Wduplicated-branches>
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>
    $<$<C_COMPILER_ID:Clang>:-Wno-gnu-zero-variadic-macro-arguments -Wno-gnu-statement-expression>)
# A struct that is cleared as a whole becomes `rep stos` under gcc's general tuning: a few dozen
# cycles in which nothing overlaps, once or more for every command. Plain stores do not stall.
include(CheckCCompilerFlag)
set(MF_PLAIN_STORES -mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign)
check_c_compiler_flag(${MF_PLAIN_STORES} MF_HAVE_PLAIN_STORES)
if(MF_HAVE_PLAIN_STORES)
    target_compile_options(mf_compiler INTERFACE ${MF_PLAIN_STORES})
    target_link_options(mf_compiler INTERFACE ${MF_PLAIN_STORES}) # link-time optimisation compiles
endif()
target_compile_definitions(mf_compiler INTERFACE _GNU_SOURCE MF_VERSION="${PROJECT_VERSION}")
target_include_directories(mf_compiler INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)

if(MAYFLY_SANITIZE)
    add_compile_options(-fsanitize=${MAYFLY_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${MAYFLY_SANITIZE})
    if(MAYFLY_SANITIZE MATCHES "thread")
        target_compile_definitions(mf_compiler INTERFACE MF_TSAN=1)
    endif()
endif()

# Link-time optimisation is for the programs. Tests link what is optimised file by file, some two
# hundred times faster: objects hold both.
if(CMAKE_INTERPROCEDURAL_OPTIMIZATION AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(mf_compiler INTERFACE -ffat-lto-objects)
endif()
# mf_link_without_lto(): for what the rest of this CMakeLists.txt and those below it build.
macro(mf_link_without_lto)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)
    add_link_options($<$<C_COMPILER_ID:GNU>:-fno-lto>)
endmacro()
