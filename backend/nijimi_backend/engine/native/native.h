/* What the functions of this folder share. All bfloat16 is told as the 16 bits that it is. */

#pragma once

#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#if !defined(__AMX_BF16__) || !defined(__AVX512BF16__) || !defined(__AVX512VBMI__)
#error "This processor has no AMX, for which these functions are written."
#endif

#define INLINE static inline __attribute__((always_inline))
#define LOG2_E 1.44269504f

enum {
    BF16_ONE = 0x3f80,
    LARGEST_WIDTH = 256, /* of a head, in values */
};

INLINE float as_float(uint32_t bf16) {
    union {
        uint32_t bits;
        float value;
    } made = {.bits = bf16 << 16};
    return made.value;
}

/* 2^rest for what is left after rounding, -0.5 to 0.5; off by 1e-4 of it, where bfloat16 rounds to
   4e-3. */
INLINE __m512 power_of_rest(__m512 rest) {
    __m512 made = _mm512_fmadd_ps(_mm512_set1_ps(0.05550411f), rest, _mm512_set1_ps(0.2426310f));
    made = _mm512_fmadd_ps(made, rest, _mm512_set1_ps(0.69314718f));
    return _mm512_fmadd_ps(made, rest, _mm512_set1_ps(0.99992522f));
}

INLINE __m512 floats(__m256i bf16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}
