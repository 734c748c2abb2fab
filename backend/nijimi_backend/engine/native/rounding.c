/* Values in bfloat16 enter; bytes that stand for them leave, with one scale and one zero.

   Of each layer's input 0 to 254 are used: a value is (byte - zero) * scale (Jacob et al., arXiv
   1712.05877, equation 1). Zero has a byte of its own, as convolutions are padded with it. */

#include "native.h"

enum {
    LEVELS = 254,
    FEW = 32768, /* values below which a second thread comes too late */
    AT_ONCE = 32,
};

/* The bits of bfloat16 sort as whole numbers do: positive ones signed, negative ones unsigned, by
   what they are without their sign. 0 stands for none. */
INLINE uint32_t highest_bits(__m512i signed_most) {
    short each[AT_ONCE], most = 0;
    _mm512_storeu_si512(each, signed_most);
    for (int n = 0; n < AT_ONCE; n++)
        most = each[n] > most ? each[n] : most;
    return (uint16_t)most;
}

INLINE uint32_t lowest_bits(__m512i unsigned_most) {
    uint16_t each[AT_ONCE], most = 0;
    _mm512_storeu_si512(each, unsigned_most);
    for (int n = 0; n < AT_ONCE; n++)
        most = each[n] > most ? each[n] : most;
    return most > 0x7fff ? most : 0;
}

/* ``told``: scale and zero. Where a value is no number, or has no end, the scale is none either,
   and the bytes mean nothing. */
void nijimi_round(const uint16_t *from, uint8_t *to, long count, float *told, int threads) {
    uint32_t highest = 0, lowest = 0;
    float by = 0.0f, zero = 0.0f;
    const long whole = count / AT_ONCE;
    const __mmask32 rest = (__mmask32)((1ull << (count % AT_ONCE)) - 1);
#pragma omp parallel num_threads(count < FEW ? 1 : threads)
    {
        __m512i up = _mm512_setzero_si512(), down = up;
#pragma omp for schedule(static) nowait
        for (long n = 0; n <= whole; n++) {
            const __mmask32 some = n < whole ? 0xffffffff : rest;
            const __m512i bits = _mm512_maskz_loadu_epi16(some, from + n * AT_ONCE);
            up = _mm512_max_epi16(up, bits);
            down = _mm512_max_epu16(down, bits);
        }
        const uint32_t mine_up = highest_bits(up), mine_down = lowest_bits(down);
#pragma omp critical(nijimi_extremes)
        {
            highest = mine_up > highest ? mine_up : highest;
            lowest = mine_down > lowest ? mine_down : lowest;
        }
#pragma omp barrier
#pragma omp single
        {
            const float high = as_float(highest), low = as_float(lowest);
            float scale = (high - low) / LEVELS;
            scale = scale < 1e-12f ? 1e-12f : scale;
            if (highest >= 0x7f80 || lowest >= 0xff80)
                scale = __builtin_nanf("");
            by = 1.0f / scale;
            zero = __builtin_rintf(-low * by);
            told[0] = scale;
            told[1] = zero;
        }
        const __m512 factor = _mm512_set1_ps(by), shift = _mm512_set1_ps(zero);
#pragma omp for schedule(static)
        for (long n = 0; n <= 2 * whole + 1; n++) {
            const long left = count - 16 * n;
            if (left <= 0)
                continue;
            const __mmask16 some = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
            const __m512 value = floats(_mm256_maskz_loadu_epi16(some, from + 16 * n));
            const __m512 level = _mm512_max_ps(_mm512_fmadd_ps(value, factor, shift),
                                               _mm512_setzero_ps());
            _mm512_mask_cvtusepi32_storeu_epi8(to + 16 * n, some, _mm512_cvtps_epu32(level));
        }
    }
}
