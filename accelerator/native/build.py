"""What cffi makes of native/*.c: halftone_jpeg._native, linked with the system's libjpeg."""

import platform

from cffi import FFI

# Without contraction of products and sums, a search gives the same levels on every processor.
# Without errno and traps, which nobody asks for, more loops become vector instructions.
_ARITHMETIC = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
_FLAGS = ["-O3", *_ARITHMETIC, "-Wall", "-Wextra"]

builder = FFI()
builder.cdef("""
    typedef enum { REQUANTISED, TOO_LARGE, NOT_POSSIBLE } requantise_outcome;

    typedef struct {
        uint16_t quantisers[8][3][64];
        float dead_zone;
        float bit_price[2];
        float masking[128];
        int sampled_rows;
        size_t progressive_from;
        float plain_share;
    } requantise_recipe;

    requantise_outcome requantise_jpeg(
        const unsigned char *data, size_t data_bytes, const requantise_recipe *recipe,
        size_t max_pixels, size_t max_bytes,
        const unsigned char *icc, size_t icc_bytes, const unsigned char *exif, size_t exif_bytes,
        unsigned char **result, size_t *result_bytes);

    double ssimulacra2(
        const uint8_t *original, const uint8_t *distorted, int width, int height);

    void free(void *pointer);
""")
builder.set_source(
    "halftone_jpeg._native",
    '#include <stdlib.h>\n#include "requantise.h"\n#include "score.h"\n',
    sources=[f"native/{name}.c" for name in ("requantise", "trellis", "huffman", "score")],
    include_dirs=["native"],
    libraries=["jpeg"],
    extra_compile_args=[] if platform.system() == "Windows" else _FLAGS,
)
