# What is not a GoogleTest program: the style check and the tests with real processes and mounts.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

add_test(NAME style COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/style/check_style.py)
set_tests_properties(style PROPERTIES LABELS unit)
add_test(NAME manpages COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/style/check_manpages.py)
set_tests_properties(manpages PROPERTIES LABELS unit ENVIRONMENT "DFS_TEST_BUILD=${PROJECT_BINARY_DIR}")

# One entry for each test class file; they use real mounts, so one at a time.
file(GLOB cluster_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cluster/test_*.py)
foreach(file ${cluster_tests})
  get_filename_component(name ${file} NAME_WE)
  add_test(NAME cluster.${name} COMMAND ${Python3_EXECUTABLE} -m unittest -v ${name}
           WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}/tests/cluster)
  set_tests_properties(cluster.${name} PROPERTIES LABELS cluster TIMEOUT 900 RUN_SERIAL ON
                       ENVIRONMENT "DFS_TEST_BUILD=${PROJECT_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1")
  if(name STREQUAL "test_packages")
    set_tests_properties(cluster.${name} PROPERTIES LABELS package TIMEOUT 1800) # it builds them
  endif()
endforeach()
