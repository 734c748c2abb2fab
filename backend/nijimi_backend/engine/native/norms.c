/* Values in bfloat16 enter; the same, normalised, leave: by groups of channels (Wu and He, arXiv
   1803.08494), with SiLU after it where asked, or by rows (Ba et al., arXiv 1607.06450).

   Sums are in float32, of differences from the first pixel, so that a large mean costs nothing. */

#include "native.h"

/* x / (1 + exp(-x)); off by some 2e-4 of it. */
INLINE __m512 silu_of(__m512 x) {
    const __m512 most = _mm512_set1_ps(126.0f);
    __m512 power = _mm512_mul_ps(x, _mm512_set1_ps(-LOG2_E));
    power = _mm512_min_ps(most, _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), most), power));
    const __m512 whole = _mm512_roundscale_ps(power, 0), rest = _mm512_sub_ps(power, whole);
    const __m512 made = _mm512_scalef_ps(power_of_rest(rest), whole);
    return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(made, _mm512_set1_ps(1.0f))));
}

INLINE __m512 read16(const uint16_t *from) {
    return floats(_mm256_loadu_si256((const __m256i *)from));
}

INLINE void write16(uint16_t *to, __m512 values) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(values));
}

/* Of pixels ``from`` to ``to`` and each channel: sums of what exceeds the first pixel, and of its
   squares. */
static void add_up(float *sums, float *squares, const uint16_t *picture, long from, long to,
                   long channels) {
    memset(sums, 0, sizeof(float) * (size_t)channels);
    memset(squares, 0, sizeof(float) * (size_t)channels);
    for (long pixel = from; pixel < to; pixel++)
        for (long c = 0; c < channels; c += 16) {
            const __m512 more =
                _mm512_sub_ps(read16(picture + pixel * channels + c), read16(picture + c));
            _mm512_storeu_ps(sums + c, _mm512_add_ps(_mm512_loadu_ps(sums + c), more));
            _mm512_storeu_ps(squares + c,
                             _mm512_fmadd_ps(more, more, _mm512_loadu_ps(squares + c)));
        }
}

/* What channels of one group are multiplied by, and what is added then. */
static void settle(float *by, float *plus, const float *sums, const float *squares,
                   const uint16_t *picture, const uint16_t *add, const uint16_t *weight,
                   const uint16_t *bias, long pixels, long size, float epsilon) {
    float mean = 0.0f, spread = 0.0f;
    for (long c = 0; c < size; c++) {
        plus[c] = sums[c] / pixels + as_float(picture[c]) + (add ? as_float(add[c]) : 0.0f);
        mean += plus[c] / size;
    }
    for (long c = 0; c < size; c++) {
        const float own = sums[c] / pixels, off = plus[c] - mean;
        spread += (squares[c] / pixels - own * own + off * off) / size;
    }
    for (long c = 0; c < size; c++) {
        by[c] = as_float(weight[c]) / __builtin_sqrtf(spread + epsilon);
        plus[c] = ((add ? as_float(add[c]) : 0.0f) - mean) * by[c] + as_float(bias[c]);
    }
}

/* How many bytes ``nijimi_group_norm`` needs as its ``room``. */
long nijimi_group_norm_room(long channels, int threads) {
    return (2l * threads + 2) * channels * (long)sizeof(float);
}

/* ``from`` and ``to``: batch x pixels x channels. ``add``: batch x channels, added before, or null.
   ``channels``: a multiple of 16 and of ``groups``. */
void nijimi_group_norm(const uint16_t *from, uint16_t *to, const uint16_t *add,
                       const uint16_t *weight, const uint16_t *bias, long batch, long pixels,
                       long channels, long groups, float epsilon, int with_silu, float *room,
                       int threads) {
    const long size = channels / groups;
    float *by = room, *plus = room + channels, *sums = room + 2 * channels;
#pragma omp parallel num_threads(threads)
    {
        const long me = omp_get_thread_num(), all = omp_get_num_threads();
        const long first = pixels * me / all, end = pixels * (me + 1) / all;
        for (long b = 0; b < batch; b++) {
            const uint16_t *picture = from + b * pixels * channels;
            add_up(sums + 2 * me * channels, sums + (2 * me + 1) * channels, picture, first, end,
                   channels);
#pragma omp barrier
#pragma omp single
            {
                for (long other = 1; other < all; other++)
                    for (long c = 0; c < 2 * channels; c++)
                        sums[c] += sums[2 * other * channels + c];
                for (long c = 0; c < channels; c += size)
                    settle(by + c, plus + c, sums + c, sums + channels + c, picture + c,
                           add ? add + b * channels + c : 0, weight + c, bias + c, pixels, size,
                           epsilon);
            }
            uint16_t *made = to + b * pixels * channels;
            for (long pixel = first; pixel < end; pixel++)
                for (long c = 0; c < channels; c += 16) {
                    const long at = pixel * channels + c;
                    const __m512 value = _mm512_fmadd_ps(
                        read16(picture + at), _mm512_loadu_ps(by + c), _mm512_loadu_ps(plus + c));
                    write16(made + at, with_silu ? silu_of(value) : value);
                }
#pragma omp barrier
        }
    }
}

/* ``from`` and ``to``: rows x width. ``width``: a multiple of 16. */
void nijimi_row_norm(const uint16_t *from, uint16_t *to, const uint16_t *weight,
                     const uint16_t *bias, long rows, long width, float epsilon, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < rows; row++) {
        const uint16_t *at = from + row * width;
        __m512 sum = _mm512_setzero_ps(), spread = sum;
        for (long n = 0; n < width; n += 16)
            sum = _mm512_add_ps(sum, read16(at + n));
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width);
        for (long n = 0; n < width; n += 16) {
            const __m512 off = _mm512_sub_ps(read16(at + n), mean);
            spread = _mm512_fmadd_ps(off, off, spread);
        }
        const float variance = _mm512_reduce_add_ps(spread) / width;
        const __m512 by = _mm512_set1_ps(1.0f / __builtin_sqrtf(variance + epsilon));
        for (long n = 0; n < width; n += 16) {
            const __m512 off = _mm512_mul_ps(_mm512_sub_ps(read16(at + n), mean), by);
            write16(to + row * width + n,
                    _mm512_fmadd_ps(off, read16(weight + n), read16(bias + n)));
        }
    }
}
