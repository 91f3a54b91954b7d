"""What cffi makes of native/*.c: halftone_jpeg._native, linked with the system's libjpeg."""

import platform

from cffi import FFI

builder = FFI()
builder.cdef("""
    typedef enum { REQUANTISED, TOO_LARGE, NOT_POSSIBLE } requantise_outcome;

    requantise_outcome requantise_jpeg(
        const unsigned char *data, size_t data_bytes, int quality,
        size_t max_pixels, size_t max_bytes,
        const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes,
        unsigned char **result, size_t *result_bytes);

    void free(void *pointer);
""")
builder.set_source(
    "halftone_jpeg._native",
    '#include <stdlib.h>\n#include "requantise.h"\n',
    sources=["native/requantise.c", "native/huffman.c"],
    include_dirs=["native"],
    libraries=["jpeg"],
    extra_compile_args=[] if platform.system() == "Windows" else ["-O3", "-Wall", "-Wextra"],
)
