#include "shim/bootstrap/commands.h"

int main(int argc, char** argv) { return gantry::shim::Main(argc, argv); }
