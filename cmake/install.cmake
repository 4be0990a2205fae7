# What a host finds after `cmake --install`: find_package(lull) gives lull::shared and
# lull::static, pkg-config gives lull.

include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/lull)
set(LULL_LUA_CMOD ${CMAKE_INSTALL_LIBDIR}/lua/5.4 CACHE STRING "Where lua5.4 finds lull.so")

install(TARGETS lull)
install(TARGETS lull_static lull_shared EXPORT lull)
install(TARGETS lull_module DESTINATION ${LULL_LUA_CMOD})
install(FILES include/lull.h TYPE INCLUDE)
install(EXPORT lull NAMESPACE lull:: FILE lullTargets.cmake DESTINATION ${package})

configure_package_config_file(cmake/lullConfig.cmake.in lullConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(lullConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lullConfig.cmake
              ${PROJECT_BINARY_DIR}/lullConfigVersion.cmake DESTINATION ${package})

set(requires ${LULL_PACKAGES})
list(FILTER requires EXCLUDE REGEX "^[A-Z]+$")
list(JOIN requires ", " requires)
string(REPLACE >= " >= " requires "${requires}")
configure_file(cmake/lull.pc.in lull.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lull.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
