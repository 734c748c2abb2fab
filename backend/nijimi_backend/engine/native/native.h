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

enum {
    BF16_ONE = 0x3f80,
    LARGEST_WIDTH = 256, /* of a head, in values */
};

INLINE __m512 floats(__m256i bf16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}
