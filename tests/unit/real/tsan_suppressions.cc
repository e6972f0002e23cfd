// ThreadSanitizer asks the program for this. libzmq is not built with it, so the order that its
// lock free queues make between our thread and its own cannot be seen, and all it touches looks
// raced for.
extern "C" const char* __tsan_default_suppressions();

extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libzmq.so\n"
         "race:libzmq.so\n";
}
