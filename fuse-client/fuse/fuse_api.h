// libfuse's low-level header, with the API version this adapter is written for.
#pragma once

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
