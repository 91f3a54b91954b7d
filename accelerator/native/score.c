/*
 * SSIMULACRA 2.1, by its description and with its constants in libjxl (tools/ssimulacra2, Copyright
 * (c) Jon Sneyers, Cloudinary, and the JPEG XL Project Authors; BSD-3-Clause). It weighs three
 * kinds of error, at six scales and in the three channels of the XYB colour space: structural
 * dissimilarity, new edges, and lost edges.
 */
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCALES 6
#define CHANNELS 3
#define SMALLEST_SIDE 8
/* The Gaussian window's standard deviation is 1.5 pixels. */
#define RADIUS 5
/*
 * Sums are kept in this many parts. Compilers can use vector instructions for them without changing
 * the result.
 */
#define LANES 8
#define FAILED -1000.0

#if defined(__x86_64__) && defined(__GLIBC__)
#define SEVERAL_TARGETS __attribute__((target_clones("avx2", "default")))
#else
#define SEVERAL_TARGETS
#endif

/*
 * By channel, scale, norm (the mean, the 4-norm) and error (dissimilarity, new edges, lost edges).
 */
static const double WEIGHTS[CHANNELS][SCALES][2][3] = {
    {
        {{0, 0.0007376606707406586, 0},
         {0, 0.0007793481682867309, 0}},
        {{0, 0.0004371155730107379, 0},
         {1.1041726426657346, 0.00066284834129271, 0.00015231632783718752}},
        {{0, 0.0016406437456599754, 0},
         {1.8422455520539298, 11.441172603757666, 0}},
        {{0.0007989109436015163, 0.000176816438078653, 0},
         {1.8787594979546387, 10.94906990605142, 0}},
        {{0.0007289346991508072, 0.9677937080626833, 0},
         {0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053}},
        {{0.0004550992113792063, 0, 0},
         {0.0013648766163243398, 0, 0}},
    },
    {
        {{0, 0, 0},
         {7.466890328078848, 0, 17.445833984131262}},
        {{0.0006235601634041466, 0, 0},
         {6.683678146179332, 0.00037724407979611296, 1.027889937768264}},
        {{225.20515300849274, 0, 0},
         {19.213238186143016, 0.0011401524586618361, 0.001237755635509985}},
        {{176.39317598450694, 0, 0},
         {24.43300999870476, 0.28520802612117757, 0.0004485436923833408}},
        {{0, 0, 0},
         {34.77906344483772, 44.835625328877896, 0}},
        {{0, 0, 0},
         {0, 0, 0}},
    },
    {
        {{0, 0.0008680556573291698, 0},
         {0, 0, 0}},
        {{0, 0.0005313191874358747, 0},
         {0.00016533814161379112, 0, 0}},
        {{0, 0, 0},
         {0.0004179171803251336, 0.0017290828234722833, 0}},
        {{0.0020827005846636437, 0, 0},
         {8.826982764996862, 23.19243343998926, 0}},
        {{95.1080498811086, 0.9863978034400682, 0.9834382792465353},
         {0.0012286405048278493, 171.2667255897307, 0.9807858872435379}},
        {{0, 0, 0},
         {0.0005130064588990679, 0, 0.00010854057858411537}},
    },
};

typedef struct {
  int width, height;
  size_t pixels;
} extent;

/*
 * Planes of one size: both images in linear light and in XYB, and what is computed of one channel.
 */
typedef struct {
  float *linear[2], *xyb[2];
  float *product, *halfway;
  float *mean[2], *square[2], *cross;
} planes;

static const float WINDOW[RADIUS + 1] = {
    0.266011725f, 0.213005538f, 0.10936069f,
    0.0360007721f, 0.00759875814f, 0.00102838008f,
};

static extent extent_of(int width, int height) {
  return (extent){width, height, (size_t)width * (size_t)height};
}

static void to_linear(const uint8_t *pixels, size_t count, float *linear) {
  float levels[256];
  for (int value = 0; value < 256; value++) {
    double level = value / 255.0;
    levels[value] = (float)(level <= 0.04045 ? level / 12.92 : pow((level + 0.055) / 1.055, 2.4));
  }
  for (size_t at = 0; at < count; at++)
    for (int channel = 0; channel < CHANNELS; channel++)
      linear[(size_t)channel * count + at] = levels[pixels[CHANNELS * at + (size_t)channel]];
}

/*
 * Newton's method. The first guess divides the exponent by 3; three steps then reach the precision
 * of a float.
 */
static inline float cube_root(float value) {
  union {
    float real;
    uint32_t bits;
  } guess = {value};
  guess.bits = guess.bits / 3 + 709921077;
  float root = guess.real;
  for (int step = 0; step < 3; step++)
    root = (2 * root + value / (root * root)) * (1.0f / 3);
  return root;
}

SEVERAL_TARGETS
static void to_xyb(const float *linear, size_t pixels, float *xyb) {
  const float *red = linear, *green = linear + pixels, *blue = linear + 2 * pixels;
  const float bias = 0.0037930733f, root_of_bias = 0.155954201f;
  for (size_t at = 0; at < pixels; at++) {
    float r = red[at], g = green[at], b = blue[at];
    float l = cube_root(0.3f * r + 0.622f * g + 0.078f * b + bias) - root_of_bias;
    float m = cube_root(0.23f * r + 0.692f * g + 0.078f * b + bias) - root_of_bias;
    float s = cube_root(0.24342269f * r + 0.20476744f * g + 0.55180987f * b + bias) - root_of_bias;
    float y = 0.5f * (l + m);
    xyb[at] = 0.5f * (l - m) * 14 + 0.42f;
    xyb[pixels + at] = y + 0.01f;
    xyb[2 * pixels + at] = s - y + 0.55f;
  }
}

SEVERAL_TARGETS
static void multiply(const float *one, const float *other, size_t pixels, float *product) {
  for (size_t at = 0; at < pixels; at++)
    product[at] = one[at] * other[at];
}

SEVERAL_TARGETS
static void weigh(const float *const taps[2 * RADIUS + 1], int width, float *sum) {
  for (int x = 0; x < width; x++) {
    float all = WINDOW[0] * taps[RADIUS][x];
    for (int away = 1; away <= RADIUS; away++)
      all += WINDOW[away] * (taps[RADIUS - away][x] + taps[RADIUS + away][x]);
    sum[x] = all;
  }
}

static int mirrored(int at, int length) {
  while (at < 0 || at >= length)
    at = at < 0 ? -1 - at : 2 * length - 1 - at;
  return at;
}

/*
 * A Gaussian blur in two passes. Beyond the left and right edges, pixels count as zero; beyond the
 * upper and lower edges, the image is mirrored.
 */
static void blur(const float *from, extent size, float *padded, float *halfway, float *to) {
  const float *taps[2 * RADIUS + 1];
  memset(padded, 0, (size_t)(size.width + 2 * RADIUS) * sizeof(float));
  for (int tap = 0; tap <= 2 * RADIUS; tap++)
    taps[tap] = padded + tap;
  for (int y = 0; y < size.height; y++) {
    memcpy(
        padded + RADIUS, from + (size_t)y * (size_t)size.width,
        (size_t)size.width * sizeof(float));
    weigh(taps, size.width, halfway + (size_t)y * (size_t)size.width);
  }
  for (int y = 0; y < size.height; y++) {
    for (int tap = 0; tap <= 2 * RADIUS; tap++)
      taps[tap] =
          halfway + (size_t)mirrored(y + tap - RADIUS, size.height) * (size_t)size.width;
    weigh(taps, size.width, to + (size_t)y * (size_t)size.width);
  }
}

static inline float positive(float value) { return value > 0 ? value : 0; }

/* Add the three errors and their fourth powers over one row to the sums, by lanes. */
SEVERAL_TARGETS
static void add_row(
    const planes *p, const float *one, const float *other, size_t from, int width,
    float sums[6][LANES]) {
  for (int start = 0; start < width; start += LANES) {
    int lanes = width - start < LANES ? width - start : LANES;
    for (int lane = 0; lane < lanes; lane++) {
      size_t at = from + (size_t)(start + lane);
      float mean1 = p->mean[0][at], mean2 = p->mean[1][at], apart = mean1 - mean2;
      float structure = 2 * (p->cross[at] - mean1 * mean2) + 0.0009f;
      float spread =
          (p->square[0][at] - mean1 * mean1) + (p->square[1][at] - mean2 * mean2) + 0.0009f;
      float edges = (1 + fabsf(other[at] - mean2)) / (1 + fabsf(one[at] - mean1)) - 1;
      float errors[3] = {
          positive(1 - (1 - apart * apart) * structure / spread), positive(edges), positive(-edges),
      };
      for (int error = 0; error < 3; error++) {
        float squared = errors[error] * errors[error];
        sums[2 * error][lane] += errors[error];
        sums[2 * error + 1][lane] += squared * squared;
      }
    }
  }
}

/* The weighted errors of one channel at one scale. */
static double errors_of(const planes *p, int channel, extent size, const double weights[2][3]) {
  const float *one = p->xyb[0] + (size_t)channel * size.pixels;
  const float *other = p->xyb[1] + (size_t)channel * size.pixels;
  double sums[6] = {0};
  for (int y = 0; y < size.height; y++) {
    float row[6][LANES] = {{0}};
    add_row(p, one, other, (size_t)y * (size_t)size.width, size.width, row);
    for (int sum = 0; sum < 6; sum++)
      for (int lane = 0; lane < LANES; lane++)
        sums[sum] += row[sum][lane];
  }
  double all = 0;
  for (int error = 0; error < 3; error++) {
    all += weights[0][error] * sums[2 * error] / (double)size.pixels;
    all += weights[1][error] * sqrt(sqrt(sums[2 * error + 1] / (double)size.pixels));
  }
  return all;
}

static void blur_channel(planes *p, int channel, extent size, float *padded) {
  const float *images[2] = {
      p->xyb[0] + (size_t)channel * size.pixels, p->xyb[1] + (size_t)channel * size.pixels,
  };
  for (int image = 0; image < 2; image++) {
    blur(images[image], size, padded, p->halfway, p->mean[image]);
    multiply(images[image], images[image], size.pixels, p->product);
    blur(p->product, size, padded, p->halfway, p->square[image]);
  }
  multiply(images[0], images[1], size.pixels, p->product);
  blur(p->product, size, padded, p->halfway, p->cross);
}

/*
 * Halve both sides, rounded up, of each channel in place: each pixel is the mean of two by two
 * pixels.
 */
static void halve(float *linear, extent from, extent to) {
  for (int channel = 0; channel < CHANNELS; channel++) {
    const float *source = linear + (size_t)channel * from.pixels;
    float *target = linear + (size_t)channel * to.pixels;
    for (int y = 0; y < to.height; y++) {
      const float *upper = source + (size_t)(2 * y) * (size_t)from.width;
      const float *lower = 2 * y + 1 < from.height ? upper + from.width : upper;
      for (int x = 0; x < to.width; x++) {
        int left = 2 * x, right = left + 1 < from.width ? left + 1 : left;
        *target++ = (upper[left] + upper[right] + lower[left] + lower[right]) / 4;
      }
    }
  }
}

static double score_of(double errors) {
  errors *= 0.9562382616834844;
  errors = 2.326765642916932 * errors - 0.020884521182843837 * errors * errors +
           6.248496625763138e-05 * errors * errors * errors;
  return errors > 0 ? 100 - 10 * pow(errors, 0.6276336467831387) : 100;
}

static double weighted_errors(planes *p, extent size, float *padded) {
  double errors = 0;
  for (int scale = 0; scale < SCALES; scale++) {
    if (size.width < SMALLEST_SIDE || size.height < SMALLEST_SIDE)
      break;
    for (int image = 0; image < 2; image++)
      to_xyb(p->linear[image], size.pixels, p->xyb[image]);
    for (int channel = 0; channel < CHANNELS; channel++) {
      blur_channel(p, channel, size, padded);
      errors += errors_of(p, channel, size, WEIGHTS[channel][scale]);
    }
    extent half = extent_of((size.width + 1) / 2, (size.height + 1) / 2);
    for (int image = 0; image < 2; image++)
      halve(p->linear[image], size, half);
    size = half;
  }
  return errors;
}

double ssimulacra2(const uint8_t *original, const uint8_t *distorted, int width, int height) {
  extent size = extent_of(width, height);
  enum { PLANES = 4 * CHANNELS + 7 };
  size_t padded = (size_t)width + 2 * RADIUS;
  float *memory = malloc((PLANES * size.pixels + padded) * sizeof(float));
  if (memory == NULL)
    return FAILED;
  float *free_plane = memory;
  planes p;
  for (int image = 0; image < 2; image++) {
    p.linear[image] = free_plane;
    p.xyb[image] = free_plane + CHANNELS * size.pixels;
    p.mean[image] = free_plane + 2 * CHANNELS * size.pixels;
    p.square[image] = p.mean[image] + size.pixels;
    free_plane = p.square[image] + size.pixels;
  }
  p.cross = free_plane;
  p.product = p.cross + size.pixels;
  p.halfway = p.product + size.pixels;
  to_linear(original, size.pixels, p.linear[0]);
  to_linear(distorted, size.pixels, p.linear[1]);
  double errors = weighted_errors(&p, size, p.halfway + size.pixels);
  free(memory);
  return score_of(errors);
}
