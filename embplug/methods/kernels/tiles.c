/* The loops of tile.c for one instruction set: included by kernel.c. */

#define LANES 8
#include "tile.c"
#define LANES 16
#include "tile.c"
#define LANES 32
#include "tile.c"

#undef SET
#undef REGISTER_BYTES
#undef TARGET
