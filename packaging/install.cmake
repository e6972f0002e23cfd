# Where `cmake --install` and the packages put things.
include(GNUInstallDirs)

foreach(program dfs-master dfs-chunkserver dfs-admin)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION sbin)
  endif()
endforeach()
if(TARGET dfs)
  install(TARGETS dfs RUNTIME DESTINATION bin)
endif()
if(TARGET umount.fuse.dfs)
  # mount(8) and umount(8) look for their helpers in /sbin and nowhere else.
  install(TARGETS umount.fuse.dfs RUNTIME DESTINATION /sbin)
  install(CODE [[
    file(MAKE_DIRECTORY "$ENV{DESTDIR}/sbin")
    file(CREATE_LINK ../usr/bin/dfs "$ENV{DESTDIR}/sbin/mount.fuse.dfs" SYMBOLIC)
  ]])
endif()
