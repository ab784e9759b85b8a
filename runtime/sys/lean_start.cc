// The initialiser of <iostream>, emptied, for the programs that start once for each container.
//
// Abseil's headers include <iostream>, so every file of ours has an initialiser that calls std::ios_base::Init: the
// first call makes eight streams and a locale, 0.1 ms and eight page faults at each start. None of these programs
// uses std::cout and its like, which stay unusable in them. What is made by hand (a std::ostringstream) makes the
// locale itself, when it is first needed.
//
// Linked with --wrap, which sends the calls here: see CMakeLists.txt. The names are those of the Itanium C++ ABI for
// the constructor and the destructor.

extern "C" {
void __wrap__ZNSt8ios_base4InitC1Ev(void* init);
void __wrap__ZNSt8ios_base4InitD1Ev(void* init);

void __wrap__ZNSt8ios_base4InitC1Ev(void*) {}
void __wrap__ZNSt8ios_base4InitD1Ev(void*) {}
}
