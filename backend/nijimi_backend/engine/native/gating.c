/* Rows of two halves in bfloat16 enter; the first times GELU of the second leaves, rounded once.

   GELU is the exact one, x * Phi(x) (Hendrycks and Gimpel, arXiv 1606.08415), with the error
   function of Abramowitz and Stegun, 7.1.26, which is off by 1.5e-7. */

#include "native.h"

INLINE __m512 exp_of(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);
    const __m512 power = _mm512_mul_ps(x, _mm512_set1_ps(LOG2_E));
    const __m512 whole = _mm512_roundscale_ps(power, 0);
    const __m512 rest = _mm512_sub_ps(power, whole);
    __m512 made = _mm512_set1_ps(1.3333558e-3f);
    made = _mm512_fmadd_ps(made, rest, _mm512_set1_ps(9.6181291e-3f));
    made = _mm512_fmadd_ps(made, rest, _mm512_set1_ps(5.5504109e-2f));
    made = _mm512_fmadd_ps(made, rest, _mm512_set1_ps(2.4022651e-1f));
    made = _mm512_fmadd_ps(made, rest, _mm512_set1_ps(6.9314718e-1f));
    made = _mm512_fmadd_ps(made, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(made, whole);
}

INLINE __m512 gelu_of(__m512 x) {
    const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
    const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
    const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), one));
    __m512 tail = _mm512_fmadd_ps(_mm512_set1_ps(1.061405429f), t, _mm512_set1_ps(-1.453152027f));
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(1.421413741f));
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.284496736f));
    tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.254829592f));
    tail = _mm512_mul_ps(tail, _mm512_mul_ps(t, exp_of(_mm512_fnmadd_ps(z, z, zero))));
    /* What lies beyond |x| on one side is half of that; Phi is it, or 1 less it. */
    const __m512 beyond = _mm512_mul_ps(tail, _mm512_set1_ps(0.5f));
    const __mmask16 is_positive = _mm512_cmp_ps_mask(x, zero, _CMP_GE_OQ);
    return _mm512_mul_ps(x, _mm512_mask_sub_ps(beyond, is_positive, one, beyond));
}

/* ``from``: rows x 2 * width, ``to``: rows x width. ``width``: a multiple of 32. */
void nijimi_gate(const uint16_t *from, uint16_t *to, long rows, long width, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < rows; row++) {
        const uint16_t *first = from + row * 2 * width, *second = first + width;
        uint16_t *made = to + row * width;
        for (long n = 0; n < width; n += 32) {
            __m512 both[2];
            for (int half = 0; half < 2; half++) {
                const __m256i *x = (const __m256i *)(first + n + 16 * half);
                const __m256i *gate = (const __m256i *)(second + n + 16 * half);
                both[half] = _mm512_mul_ps(floats(_mm256_loadu_si256(x)),
                                           gelu_of(floats(_mm256_loadu_si256(gate))));
            }
            _mm512_storeu_si512(made + n, (__m512i)_mm512_cvtne2ps_pbh(both[1], both[0]));
        }
    }
}
