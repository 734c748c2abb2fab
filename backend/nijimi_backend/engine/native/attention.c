/* Queries, keys and values in bfloat16 enter; softmax(Q K^T * scale) V leaves, by AMX.

   One pass over the keys with what was taken off before corrected where it must be (Milakov and
   Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). Tiles of 32 queries by 32 keys are
   multiplied while the exponentials of the tile before are taken, so scores stay in the first
   cache. A column of ones beside the values adds the weights up: products do it for nothing.

   Products are summed in float32; weights are rounded to bfloat16 before they meet the values, as
   torch's own kernel does it. */

#include "native.h"

enum {
    QUERIES = 32,  /* of a part: two tiles */
    KEYS = 32,     /* two tiles of scores, and one step of weights times values */
    BLOCK = 256,   /* keys whose weights are kept until they meet their values */
    TILE = 512,    /* bfloat16 of a tile: 16 rows of 64 bytes */
    COLUMN = 256,  /* float32 of a tile */
    LINE = 64,     /* bytes */
    MOST_STEPS = LARGEST_WIDTH / 32,
    MOST_COLUMNS = LARGEST_WIDTH / 16 + 1,
};

#define MAGIC 12582912.0f /* 1.5 * 2^23: what is added to it is rounded to a whole number */
#define HEADROOM 60.0f    /* powers of two that weights may grow before more is taken off */

/* What a thread keeps of 32 queries. Scores are in powers of two where nothing else is said. */
typedef struct {
    uint16_t query[MOST_STEPS * 2 * TILE] __attribute__((aligned(LINE)));
    float mixed[MOST_COLUMNS * QUERIES * 16] __attribute__((aligned(LINE))); /* columns of 16 */
    float scores[QUERIES * KEYS] __attribute__((aligned(LINE)));             /* as multiplied */
    uint16_t weights[BLOCK * QUERIES] __attribute__((aligned(LINE)));        /* steps of 32 keys */
    float off[QUERIES];   /* what is taken off: a whole number */
    float shift[QUERIES]; /* MAGIC less it */
    float limit[QUERIES]; /* the score, as multiplied, above which more must be taken off */
    float least[QUERIES]; /* the same, below which a key weighs nothing */
} Part;

typedef struct {
    int width, steps, columns; /* of a head, in values; in tiles across; with the ones, in tiles */
    long keys;
    float scale; /* what scores, as multiplied, are multiplied by to be powers of two */
} Form;

static void configure_tiles(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t line_bytes[16];
        uint8_t rows[16];
    } form;
    memset(&form, 0, sizeof form);
    form.palette = 1;
    for (int n = 0; n < 8; n++) {
        form.line_bytes[n] = LINE;
        form.rows[n] = 16;
    }
    _tile_loadconfig(&form);
}

/* 16 keys as the second factor: of each 32 values a tile, in which a row has a pair of each key. */
static void pack_keys(uint16_t *to, const uint16_t *key, long stride, long first,
                      const Form *form) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i places = _mm512_mullo_epi32(count, _mm512_set1_epi32((int)(stride / 2)));
    const int32_t *from = (const int32_t *)(key + first * stride);
    const long left = form->keys - first;
    const __mmask16 real = left >= 16 ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
    for (int pair = 0; pair < form->steps * 16; pair++) {
        const __mmask16 some = 2 * pair < form->width ? real : 0;
        const __m512i none = _mm512_setzero_si512();
        _mm512_store_si512(to + pair * 32,
                           _mm512_mask_i32gather_epi32(none, some, places, from + pair, 4));
    }
}

/* 16 columns of a key's value, or of the one after its last. */
INLINE __m256i value_row(const uint16_t *value, long stride, long key, int column,
                         const Form *form) {
    if (key >= form->keys)
        return _mm256_setzero_si256();
    const int left = form->width - column;
    const __mmask16 some = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
    const __m256i row = _mm256_maskz_loadu_epi16(some, value + key * stride + column);
    return left >= 16 ? row : _mm256_mask_set1_epi16(row, (__mmask16)(1u << left), BF16_ONE);
}

/* 32 keys' values as the second factor: a tile for 16 columns, a row of it for a pair of keys. */
static void pack_values(uint16_t *to, const uint16_t *value, long stride, long first,
                        const Form *form) {
    uint16_t in_turns[32];
    for (int n = 0; n < 16; n++) {
        in_turns[2 * n] = (uint16_t)n;
        in_turns[2 * n + 1] = (uint16_t)(32 + n);
    }
    const __m512i order = _mm512_loadu_si512(in_turns);
    for (int n = 0; n < form->columns; n++)
        for (int pair = 0; pair < 16; pair++) {
            const __m256i even = value_row(value, stride, first + 2 * pair, 16 * n, form);
            const __m256i odd = value_row(value, stride, first + 2 * pair + 1, 16 * n, form);
            _mm512_store_si512(to + n * TILE + pair * 32,
                               _mm512_permutex2var_epi16(_mm512_castsi256_si512(even), order,
                                                         _mm512_castsi256_si512(odd)));
        }
}

INLINE float power_of_two(float whole) {
    union {
        uint32_t bits;
        float value;
    } made = {.bits = whole < -126.0f ? 0 : (uint32_t)((int)whole + 127) << 23};
    return made.value;
}

/* A score would weigh too much: ``top`` is taken off instead. What was weighed before, ``done``
   steps of this block among it, weighs less by a power of two, so that nothing is rounded. */
static __attribute__((noinline)) void take_more_off(Part *part, int row, float top, int done,
                                                    const Form *form) {
    const float off = __builtin_ceilf(top);
    const __m512 by = _mm512_set1_ps(power_of_two(part->off[row] - off));
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    for (int n = 0; n < form->columns; n++) {
        float *at = part->mixed + (n * QUERIES + row) * 16;
        _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), by));
    }
    for (int n = 0; n < done; n++) {
        uint16_t *at = part->weights + (n * QUERIES + row) * KEYS;
        const __m512i pairs = _mm512_load_si512(at);
        const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
        const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(_mm512_mul_ps(even, by)), 16);
        const __m512i high = _mm512_and_si512(_mm512_castps_si512(_mm512_mul_ps(odd, by)), upper);
        _mm512_store_si512(at, _mm512_or_si512(low, high));
    }
    part->off[row] = off;
    part->shift[row] = MAGIC - off;
    part->limit[row] = (off + HEADROOM) / form->scale;
    part->least[row] = (off - 126.0f) / form->scale;
}

/* 2^(score * scale - off): a whole power by its bits, the rest by a polynomial. */
INLINE __m512 power_of(__m512 score, __m512 scale, __m512 least, __m512 shift) {
    score = _mm512_max_ps(least, score); /* in this order what is no number stays none */
    const __m512 whole = _mm512_fmadd_ps(score, scale, shift);
    const __m512 rest = _mm512_fmsub_ps(score, scale, _mm512_sub_ps(whole, shift));
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(whole), 23);
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(power_of_rest(rest)), exponent));
}

/* Scores of the rows ``from`` to ``to`` become weights, as step ``n`` of their block. */
INLINE void weigh(Part *part, int n, int from, int to, const Form *form) {
    const __m512 scale = _mm512_set1_ps(form->scale);
    for (int row = from; row < to; row++) {
        const float *at = part->scores + row * KEYS;
        const __m512 one = _mm512_load_ps(at), other = _mm512_load_ps(at + 16);
        const __m512 most = _mm512_max_ps(one, other), limit = _mm512_set1_ps(part->limit[row]);
        if (__builtin_expect(_mm512_cmp_ps_mask(most, limit, _CMP_GT_OQ) != 0, 0))
            take_more_off(part, row, _mm512_reduce_max_ps(most) * form->scale, n, form);
        const __m512 shift = _mm512_set1_ps(part->shift[row]);
        const __m512 least = _mm512_set1_ps(part->least[row]);
        _mm512_store_si512(part->weights + (n * QUERIES + row) * KEYS,
                           (__m512i)_mm512_cvtne2ps_pbh(power_of(other, scale, least, shift),
                                                        power_of(one, scale, least, shift)));
    }
}

/* Scores of the next 32 keys; meanwhile those that are there are weighed as step ``n``, a few rows
   after each product, as the processor looks no further ahead. None of them where n < 0. */
INLINE void multiply(Part *part, const uint16_t *keys, int n, int steps, const Form *form) {
    int products = 0, row = 0;
#define WEIGH_SOME                                                                                 \
    if (n >= 0) {                                                                                  \
        const int to = ++products * QUERIES / (4 * steps);                                         \
        weigh(part, n, row, to, form);                                                             \
        row = to;                                                                                  \
    }
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < steps; step++) {
        _tile_loadd(4, part->query + step * 2 * TILE, LINE);
        _tile_loadd(6, keys + step * TILE, LINE);
        _tile_dpbf16ps(0, 4, 6);
        WEIGH_SOME
        _tile_loadd(7, keys + (steps + step) * TILE, LINE);
        _tile_dpbf16ps(1, 4, 7);
        WEIGH_SOME
        _tile_loadd(5, part->query + (step * 2 + 1) * TILE, LINE);
        _tile_dpbf16ps(2, 5, 6);
        WEIGH_SOME
        _tile_dpbf16ps(3, 5, 7);
        WEIGH_SOME
    }
#undef WEIGH_SOME
    _tile_stored(0, part->scores, 4 * KEYS);
    _tile_stored(1, part->scores + 16, 4 * KEYS);
    _tile_stored(2, part->scores + 16 * KEYS, 4 * KEYS);
    _tile_stored(3, part->scores + 16 * KEYS + 16, 4 * KEYS);
}

/* Weights of ``count`` steps times ``some`` columns (1 to 3, of 16) of their values, added. */
INLINE void mix(float *to, const uint16_t *weights, const uint16_t *values, int count, int columns,
                const int some) {
    _tile_loadd(0, to, LINE);
    _tile_loadd(1, to + COLUMN, LINE);
    if (some > 1) {
        _tile_loadd(2, to + 2 * COLUMN, LINE);
        _tile_loadd(3, to + 3 * COLUMN, LINE);
    }
    if (some > 2) {
        _tile_loadd(4, to + 4 * COLUMN, LINE);
        _tile_loadd(5, to + 5 * COLUMN, LINE);
    }
    for (int n = 0; n < count; n++) {
        const uint16_t *w = weights + n * QUERIES * KEYS, *v = values + (long)n * columns * TILE;
        /* There and back over the columns: two registers are left for both factors. */
        _tile_loadd(6, v, LINE);
        _tile_loadd(7, w, LINE);
        _tile_dpbf16ps(0, 7, 6);
        if (some > 1) {
            _tile_loadd(6, v + TILE, LINE);
            _tile_dpbf16ps(2, 7, 6);
        }
        if (some > 2) {
            _tile_loadd(6, v + 2 * TILE, LINE);
            _tile_dpbf16ps(4, 7, 6);
        }
        _tile_loadd(7, w + TILE, LINE);
        if (some > 2) {
            _tile_dpbf16ps(5, 7, 6);
            _tile_loadd(6, v + TILE, LINE);
        }
        if (some > 1) {
            _tile_dpbf16ps(3, 7, 6);
            _tile_loadd(6, v, LINE);
        }
        _tile_dpbf16ps(1, 7, 6);
    }
    _tile_stored(0, to, LINE);
    _tile_stored(1, to + COLUMN, LINE);
    if (some > 1) {
        _tile_stored(2, to + 2 * COLUMN, LINE);
        _tile_stored(3, to + 3 * COLUMN, LINE);
    }
    if (some > 2) {
        _tile_stored(4, to + 4 * COLUMN, LINE);
        _tile_stored(5, to + 5 * COLUMN, LINE);
    }
}

static void begin(Part *part, const uint16_t *query, long stride, int queries, const Form *form) {
    memset(part->query, 0, (size_t)form->steps * 2 * TILE * sizeof(uint16_t));
    memset(part->mixed, 0, (size_t)form->columns * QUERIES * 16 * sizeof(float));
    for (int row = 0; row < QUERIES; row++)
        part->off[row] = part->limit[row] = -1e30f;
    for (int row = 0; row < queries; row++)
        for (int step = 0; step < form->steps; step++) {
            const int left = form->width - 32 * step;
            memcpy(part->query + (32 * step + row) * 32, query + row * stride + 32 * step,
                   sizeof(uint16_t) * (size_t)(left < 32 ? left : 32));
        }
}

static void finish(const Part *part, uint16_t *to, long stride, int queries, const Form *form) {
    for (int row = 0; row < queries; row++) {
        const int ones = form->width / 16 * QUERIES * 16 + form->width % 16;
        const __m512 by = _mm512_set1_ps(1.0f / part->mixed[ones + row * 16]);
        for (int column = 0; column < form->width; column += 16) {
            const int left = form->width - column;
            const __mmask16 some = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
            const __m512 mixed = _mm512_load_ps(part->mixed + column * QUERIES + row * 16);
            _mm256_mask_storeu_epi16(to + row * stride + column, some,
                                     (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(mixed, by)));
        }
    }
}

/* ``steps`` is the form's, told apart so that a constant makes loops without ends to look for. */
INLINE void attend(Part *part, const uint16_t *keys, const uint16_t *values, const int steps,
                   const Form *form) {
    const long all = (form->keys + KEYS - 1) / KEYS;
    for (long first = 0; first < all; first += BLOCK / KEYS) {
        const int count = all - first < BLOCK / KEYS ? (int)(all - first) : BLOCK / KEYS;
        const uint16_t *block = keys + first * 2 * steps * TILE;
        multiply(part, block, -1, steps, form);
        for (int n = 0; n < count; n++) {
            const long left = form->keys - (first + n) * KEYS;
            for (int row = 0; left < KEYS && row < QUERIES; row++)
                for (long key = left; key < KEYS; key++)
                    part->scores[row * KEYS + key] = -3e38f;
            if (n + 1 < count)
                multiply(part, block + (n + 1) * 2 * steps * TILE, n, steps, form);
            else
                weigh(part, n, 0, QUERIES, form);
        }
        for (int n = 0; n < form->columns; n += 3) {
            const uint16_t *some = values + (first * form->columns + n) * TILE;
            float *to = part->mixed + n * QUERIES * 16;
            switch (form->columns - n) {
            case 1:
                mix(to, part->weights, some, count, form->columns, 1);
                break;
            case 2:
                mix(to, part->weights, some, count, form->columns, 2);
                break;
            default:
                mix(to, part->weights, some, count, form->columns, 3);
            }
        }
    }
}

/* How many bytes ``nijimi_attention`` needs as its ``room``, which begins at a multiple of 64. */
long nijimi_attention_room(long heads, long keys, long width) {
    const long steps = (width + 31) / 32, columns = width / 16 + 1;
    const long tiles = heads * ((keys + KEYS - 1) / KEYS) * (2 * steps + columns);
    return tiles * TILE * (long)sizeof(uint16_t);
}

/* ``strides``: of batch, head and token, in values, for queries, keys, values and what is made, in
   this order; the values of a head lie beside each other, in pairs. ``width``: even, at most
   LARGEST_WIDTH. */
void nijimi_attention(const uint16_t *query, const uint16_t *key, const uint16_t *value,
                      uint16_t *made, const long *strides, long batch, long heads, long queries,
                      long keys, long width, float scale, uint16_t *room, int threads) {
    const Form form = {.width = (int)width,
                       .steps = (int)((width + 31) / 32),
                       .columns = (int)(width / 16 + 1),
                       .keys = keys,
                       .scale = scale * LOG2_E};
    const long steps = (keys + KEYS - 1) / KEYS, parts = (queries + QUERIES - 1) / QUERIES;
    const long key_size = steps * 2 * form.steps * TILE, value_size = steps * form.columns * TILE;
    uint16_t *packed_keys = room, *packed_values = room + batch * heads * key_size;
#pragma omp parallel num_threads(threads)
    {
        Part part;
        configure_tiles();
#pragma omp for schedule(static)
        for (long n = 0; n < batch * heads * steps; n++) {
            const long head = n / steps, step = n % steps;
            const long b = head / heads, h = head % heads;
            const uint16_t *k = key + b * strides[3] + h * strides[4];
            const uint16_t *v = value + b * strides[6] + h * strides[7];
            uint16_t *to = packed_keys + head * key_size + step * 2 * form.steps * TILE;
            pack_keys(to, k, strides[5], step * KEYS, &form);
            pack_keys(to + form.steps * TILE, k, strides[5], step * KEYS + 16, &form);
            pack_values(packed_values + head * value_size + step * form.columns * TILE, v,
                        strides[8], step * KEYS, &form);
        }
#pragma omp for schedule(static)
        for (long n = 0; n < batch * heads * parts; n++) {
            const long head = n / parts, first = n % parts * QUERIES;
            const long b = head / heads, h = head % heads;
            const int some = queries - first < QUERIES ? (int)(queries - first) : QUERIES;
            const uint16_t *q = query + b * strides[0] + h * strides[1] + first * strides[2];
            const uint16_t *k = packed_keys + head * key_size;
            const uint16_t *v = packed_values + head * value_size;
            begin(&part, q, strides[2], some, &form);
            switch (form.steps) {
            case 2:
                attend(&part, k, v, 2, &form);
                break;
            case 3:
                attend(&part, k, v, 3, &form);
                break;
            default:
                attend(&part, k, v, form.steps, &form);
            }
            finish(&part, made + b * strides[9] + h * strides[10] + first * strides[11],
                   strides[11], some, &form);
        }
        _tile_release();
    }
}
