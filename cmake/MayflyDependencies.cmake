# Every dependency is a Debian package; scripts/deps installs them all.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# mf_dependency(<target> <pkg-config name> <Debian package>)
function(mf_dependency target module package)
    pkg_check_modules(${target} QUIET IMPORTED_TARGET ${module})
    if(NOT ${target}_FOUND)
        message(FATAL_ERROR "${module} was not found. Install ${package}, or run scripts/deps, "
                            "which installs everything Mayfly needs.")
    endif()
    add_library(dep::${target} ALIAS PkgConfig::${target})
endfunction()

mf_dependency(msgpack msgpack libmsgpack-dev)
mf_dependency(jemalloc jemalloc libjemalloc-dev)
mf_dependency(ck ck libck-dev)
mf_dependency(xxhash libxxhash libxxhash-dev)
mf_dependency(lz4 liblz4 liblz4-dev)
mf_dependency(inih inih libinih-dev)
mf_dependency(crypto libcrypto libssl-dev)
mf_dependency(jansson jansson libjansson-dev)
mf_dependency(edit libedit libedit-dev)
mf_dependency(cmocka cmocka libcmocka-dev)
mf_dependency(hiredis hiredis libhiredis-dev)

# libev ships no pkg-config file.
find_path(LIBEV_INCLUDE_DIR ev.h)
find_library(LIBEV_LIBRARY ev)
if(NOT LIBEV_INCLUDE_DIR OR NOT LIBEV_LIBRARY)
    message(FATAL_ERROR "libev was not found. Install libev-dev, or run scripts/deps, which "
                        "installs everything Mayfly needs.")
endif()
add_library(dep_ev INTERFACE)
target_include_directories(dep_ev SYSTEM INTERFACE ${LIBEV_INCLUDE_DIR})
target_link_libraries(dep_ev INTERFACE ${LIBEV_LIBRARY})
add_library(dep::ev ALIAS dep_ev)

# Optional: readiness for systemd.
pkg_check_modules(systemd QUIET IMPORTED_TARGET libsystemd)
if(systemd_FOUND)
    add_library(dep::systemd ALIAS PkgConfig::systemd)
endif()
