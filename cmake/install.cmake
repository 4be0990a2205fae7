# What a host finds after `cmake --install`: find_package(lull) gives lull::shared and
# lull::static, pkg-config gives lull; what a user finds: lull, its manual page, the module
# for lua5.4, and what an editor wants to know of them.  `cpack` makes a Debian package.

set(LULL_LUA_CMOD ${CMAKE_INSTALL_LIBDIR}/lua/5.4 CACHE STRING "Where lua5.4 finds lull.so")
install(TARGETS lull_module DESTINATION ${LULL_LUA_CMOD})
if(LULL_MODULE_ONLY)
  return()
endif()

include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/lull)
install(TARGETS lull)
install(TARGETS lull_static lull_shared EXPORT lull)
install(FILES include/lull.h TYPE INCLUDE)
install(EXPORT lull NAMESPACE lull:: FILE lullTargets.cmake DESTINATION ${package})

configure_package_config_file(cmake/lullConfig.cmake.in lullConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(lullConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lullConfig.cmake
              ${PROJECT_BINARY_DIR}/lullConfigVersion.cmake DESTINATION ${package})

set(requires ${LULL_LUA_PACKAGE} ${LULL_PACKAGES})
list(FILTER requires EXCLUDE REGEX "^[A-Z]+$")
list(JOIN requires ", " requires)
string(REPLACE >= " >= " requires "${requires}")
list(TRANSFORM CMAKE_DL_LIBS PREPEND -l OUTPUT_VARIABLE lull_dl)
file(RELATIVE_PATH lull_up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /) # it may be moved
configure_file(cmake/lull.pc.in lull.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lull.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(FILES docs/lull.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(DIRECTORY meta DESTINATION ${CMAKE_INSTALL_DATADIR}/lull)
install(FILES README.md CHANGELOG.md LICENSE TYPE DOC)
install(DIRECTORY docs/ TYPE DOC FILES_MATCHING PATTERN *.md)
install(DIRECTORY examples TYPE DOC)

# ---- the Debian package --------------------------------------------------------------

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "the lull authors <lull@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION interpreters)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON) # needs dpkg-shlibdeps, of dpkg-dev
# What is loaded when it is needed, and thus overlooked by it.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libssl3, libc-ares2, liburing2, libedit2")
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_STRIP_FILES ON)
include(CPack)
