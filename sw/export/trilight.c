/*
 * A MatMul-free ternary language model in C99: integers only, no heap, no libm.
 *
 * model.h, which `trilight export c` writes, holds the sizes, the widths and all constants of one
 * model. The arithmetic is that of docs/number-formats.md, so the tokens are those of the integer
 * reference and of the chip.
 *
 * On a computer:          cc -O2 -o talk trilight.c && ./talk "ROMEO:" 200
 * On a microcontroller:   compile with -DTRILIGHT_NO_MAIN and call
 *
 *     static trilight_t state;              all the memory there is, TRILIGHT_RAM_BYTES or so
 *     trilight_reset(&state, seed);
 *     trilight_feed(&state, token);         once for each token of the prompt but the last
 *     token = trilight_next(&state, token, temperature);   the last one; then what it returned
 *
 * Licence: Apache-2.0, as the project it comes from; the model has the licence of its author.
 */

#include <stdint.h>
#include <string.h>

#include "model.h"

#define TRITS 5                            /* trits of a weight byte */
#define CODES 256

/* Floor shifts of negative integers are the compiler's choice in C99; all known ones agree. */
typedef char trilight_shifts_are_arithmetic[(-1 >> 1) == -1 ? 1 : -1];

/* Sums and products of int16_t are taken in int, which has to hold them. */
typedef char trilight_int_has_32_bits[sizeof(int) >= 4 ? 1 : -1];

typedef struct {
    int16_t h[TRILIGHT_LAYERS][TRILIGHT_D];        /* recurrent state, Q3.8 */
    int8_t x_prev[TRILIGHT_LAYERS][TRILIGHT_D];    /* input of each layer at the token before */
    int16_t x[TRILIGHT_D];                         /* residual stream, Q5.6 */
    int8_t act[TRILIGHT_MAX_COLUMNS];              /* input of the present matrix product */
    int16_t sums[TRILIGHT_MAX_ROWS];               /* its output; at last the logits */
    int16_t table[CODES];                          /* sums of five activations, by weight byte */
    uint32_t random;
} trilight_t;

static int32_t rounded(int32_t value, int shift)
{
    return (value + ((int32_t)1 << (shift - 1))) >> shift;
}

static int32_t clip(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static int32_t saturate(int32_t value, int bits)
{
    return clip(value, -((int32_t)1 << (bits - 1)), ((int32_t)1 << (bits - 1)) - 1);
}

static int8_t clip_act(int32_t value)
{
    return (int8_t)clip(value, -TRILIGHT_ACT_MAX, TRILIGHT_ACT_MAX);
}

/*
 * Sums of five values by weight byte: an index along a Gray path, whose every step adds or
 * subtracts one value, and a sign.
 */
static void fill_table(int16_t *table, const int16_t *values)
{
    int16_t sum = 0;
    table[0] = 0;
    for (int k = 0; k < TRILIGHT_STEPS; k++) {
        int step = trilight_steps[k];
        sum = (int16_t)(step > 0 ? sum + values[step - 1] : sum - values[-step - 1]);
        table[k + 1] = sum;
        table[CODES / 2 + k + 1] = (int16_t)-sum;
    }
}

/*
 * sums[0 .. rows) = matrix * act; returns the weights behind the matrix. A weight byte covers five
 * columns of a row, and the bytes of all rows for five columns lie side by side.
 */
static const uint8_t *multiply(trilight_t *t, const uint8_t *weights, int rows, int columns)
{
    memset(t->sums, 0, (size_t)rows * sizeof t->sums[0]);
    for (int column = 0; column < columns; column += TRITS) {
        int16_t values[TRITS] = {0};
        for (int k = 0; k < TRITS && column + k < columns; k++)
            values[k] = t->act[column + k];
        fill_table(t->table, values);
        for (int row = 0; row < rows; row++)
            t->sums[row] = (int16_t)(t->sums[row] + t->table[weights[row]]);
        weights += rows;
    }
    return weights;
}

static int32_t magnitude(const int8_t *values, int count)
{
    int32_t total = 0;
    for (int k = 0; k < count; k++)
        total += values[k] < 0 ? -values[k] : values[k];
    return total ? total : 1;
}

/* The multiplier of a matrix behind an L1 norm. */
static int32_t normed(int32_t scale, int32_t norm)
{
    int32_t value = scale * ((int32_t)1 << TRILIGHT_NORM_SHIFT) / norm;
    return value < TRILIGHT_SCALE_MAX ? value : TRILIGHT_SCALE_MAX;
}

static int32_t look_up(const int16_t *table, int32_t product, int32_t bias)
{
    int32_t index = saturate((product >> TRILIGHT_SCALE_FRAC) + bias, TRILIGHT_INDEX_BITS);
    return table[index + (1 << (TRILIGHT_INDEX_BITS - 1))];
}

static void add_to_residual(trilight_t *t, int32_t scale)
{
    for (int i = 0; i < TRILIGHT_D; i++)
        t->x[i] = (int16_t)saturate(t->x[i] + rounded(t->sums[i] * scale, TRILIGHT_SCALE_FRAC),
                                    TRILIGHT_RESIDUAL_BITS);
}

/* The ternary embedding: column by column out of the head's bytes, which are the same matrix. */
static void embed(trilight_t *t, int token)
{
    static const int16_t powers[TRITS] = {1, 3, 9, 27, 81};
    const uint8_t *code = trilight_weights + TRILIGHT_HEAD + token;
    fill_table(t->table, powers);
    for (int column = 0; column < TRILIGHT_D; column += TRITS, code += TRILIGHT_VOCAB) {
        int number = t->table[*code] + 121;           /* five digits 0, 1, 2 for -1, 0, +1 */
        for (int k = 0; k < TRITS && column + k < TRILIGHT_D; k++, number /= 3)
            t->x[column + k] = (int16_t)((number % 3 - 1) * TRILIGHT_EMBED_SCALE);
    }
}

static const uint8_t *mix(trilight_t *t, int layer, const uint8_t *weights)
{
    const int16_t *scale = trilight_scales[layer];
    int32_t forget, candidate, gate, norm;
    for (int i = 0; i < TRILIGHT_D; i++) {
        int32_t before = t->x_prev[layer][i] * (1 << TRILIGHT_PREV_SHIFT);
        t->act[i] = clip_act(rounded(t->x[i] * trilight_tap_now[layer][i]
                                     + before * trilight_tap_prev[layer][i], TRILIGHT_TAP_FRAC));
        t->x_prev[layer][i] = clip_act(rounded(t->x[i], TRILIGHT_PREV_SHIFT));
    }
    norm = magnitude(t->act, TRILIGHT_D);
    forget = normed(scale[0], norm);
    candidate = normed(scale[1], norm);
    gate = normed(scale[2], norm);
    weights = multiply(t, weights, 3 * TRILIGHT_D, TRILIGHT_D);
    for (int i = 0; i < TRILIGHT_D; i++) {
        int32_t f = look_up(trilight_sigmoid, t->sums[i] * forget, trilight_forget_bias[layer][i]);
        int32_t c = look_up(trilight_silu, t->sums[TRILIGHT_D + i] * candidate, 0);
        int32_t g = look_up(trilight_silu, t->sums[2 * TRILIGHT_D + i] * gate, 0);
        int32_t h = c + rounded(f * (t->h[layer][i] - c), TRILIGHT_FORGET_BITS);
        t->h[layer][i] = (int16_t)h;
        t->act[i] = clip_act(rounded(g * h, TRILIGHT_MIX_SHIFT));
    }
    weights = multiply(t, weights, TRILIGHT_D, TRILIGHT_D);
    add_to_residual(t, scale[3]);
    return weights;
}

static const uint8_t *glu(trilight_t *t, int layer, const uint8_t *weights)
{
    const int16_t *scale = trilight_scales[layer];
    int32_t gate, up, norm;
    for (int i = 0; i < TRILIGHT_D; i++)
        t->act[i] = clip_act(rounded(t->x[i] * trilight_glu_tap[layer], TRILIGHT_TAP_FRAC));
    norm = magnitude(t->act, TRILIGHT_D);
    gate = normed(scale[4], norm);
    up = normed(scale[5], norm);
    weights = multiply(t, weights, 2 * TRILIGHT_HIDDEN, TRILIGHT_D);
    for (int i = 0; i < TRILIGHT_HIDDEN; i++) {
        int32_t a = look_up(trilight_silu, t->sums[i] * gate, 0);
        int32_t b = saturate(rounded(t->sums[TRILIGHT_HIDDEN + i] * up, TRILIGHT_SCALE_FRAC),
                             TRILIGHT_GATE_BITS);
        t->act[i] = clip_act(rounded(a * b, TRILIGHT_GLU_SHIFT));
    }
    weights = multiply(t, weights, TRILIGHT_D, TRILIGHT_HIDDEN);
    add_to_residual(t, scale[6]);
    return weights;
}

/* Forget what was read, and seed the random generator. */
void trilight_reset(trilight_t *t, uint32_t seed)
{
    memset(t, 0, sizeof *t);
    t->random = seed ? seed : TRILIGHT_ZERO_SEED;
}

/* Read a token in [0, TRILIGHT_VOCAB). */
void trilight_feed(trilight_t *t, int token)
{
    const uint8_t *weights = trilight_weights;
    embed(t, token);
    for (int layer = 0; layer < TRILIGHT_LAYERS; layer++)
        weights = glu(t, layer, mix(t, layer, weights));
}

/* Logits of the token after those that were read, Q9.6: TRILIGHT_VOCAB of them. */
const int16_t *trilight_logits(trilight_t *t)
{
    int32_t scale;
    for (int i = 0; i < TRILIGHT_D; i++)
        t->act[i] = clip_act(rounded(t->x[i] * TRILIGHT_HEAD_TAP, TRILIGHT_TAP_FRAC));
    scale = normed(TRILIGHT_HEAD_SCALE, magnitude(t->act, TRILIGHT_D));
    multiply(t, trilight_weights + TRILIGHT_HEAD, TRILIGHT_VOCAB, TRILIGHT_D);
    for (int k = 0; k < TRILIGHT_VOCAB; k++)
        t->sums[k] = (int16_t)saturate(rounded(t->sums[k] * scale, TRILIGHT_SCALE_FRAC)
                                       + trilight_head_bias[k], TRILIGHT_LOGIT_BITS);
    return t->sums;
}

/* Gumbel noise of one logit: the generator's low byte, which then steps eight times. */
static int32_t noise(trilight_t *t, int temperature)
{
    uint32_t state = t->random, bits = 0;
    for (unsigned k = 0; k < sizeof trilight_taps; k++)
        bits ^= state >> trilight_taps[k];
    t->random = state >> 8 | (bits & 0xFF) << 24;
    return rounded(temperature * trilight_gumbel[state & 0xFF], TRILIGHT_NOISE_SHIFT);
}

/*
 * Read a token and draw the next one. The temperature is in 256ths, 0 to 2047; 0 takes the
 * likeliest token, and of equal ones the first.
 */
int trilight_next(trilight_t *t, int token, int temperature)
{
    const int16_t *logits;
    int32_t best = 0;
    int chosen = -1;
    trilight_feed(t, token);
    logits = trilight_logits(t);
    for (int k = 0; k < TRILIGHT_VOCAB; k++) {
        int32_t noisy = logits[k] + noise(t, temperature);
        if (chosen < 0 || noisy > best) {
            best = noisy;
            chosen = k;
        }
    }
    return chosen;
}

#ifndef TRILIGHT_NO_MAIN

#include <stdio.h>
#include <stdlib.h>

/* The token at the head of a UTF-8 text, and how many bytes it has; -1 where there is none. */
static int token_at(const char *text, size_t *length)
{
    for (int token = 0; token < TRILIGHT_VOCAB; token++) {
        *length = strlen(trilight_vocab[token]);
        if (*length && strncmp(text, trilight_vocab[token], *length) == 0)
            return token;
    }
    return -1;
}

/* A number between two others out of an argument, or the end of the program. */
static double number(const char *what, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) {
        fprintf(stderr, "%s must be a number from %g to %.10g, not \"%s\"\n",
                what, low, high, text);
        exit(2);
    }
    return value;
}

int main(int count, char **arguments)
{
    static trilight_t state;
    const char *prompt = count > 1 ? arguments[1] : "";
    double scaled;
    long tokens;
    int temperature, token;
    size_t length;
    if (!*prompt || count > 5) {
        fprintf(stderr, "usage: %s PROMPT [TOKENS [SEED [TEMPERATURE]]]\n", arguments[0]);
        return 2;
    }
    tokens = (long)number("TOKENS", count > 2 ? arguments[2] : "200", 0, 1e9);
    trilight_reset(&state, (uint32_t)number("SEED", count > 3 ? arguments[3] : "0", 0, 4294967295.));
    scaled = 256 * number("TEMPERATURE", count > 4 ? arguments[4] : "0.8", 0, 2047 / 256.);
    temperature = (int)scaled;                        /* to the nearest, halves to even */
    if (scaled - temperature > 0.5 || (scaled - temperature == 0.5 && temperature % 2))
        temperature++;
    for (token = -1; *prompt; prompt += length) {
        if (token >= 0)
            trilight_feed(&state, token);
        token = token_at(prompt, &length);
        if (token < 0) {
            fprintf(stderr, "the model does not know the character that \"%s\" begins with\n",
                    prompt);
            return 2;
        }
    }
    for (; tokens > 0; tokens--) {
        token = trilight_next(&state, token, temperature);
        fputs(trilight_vocab[token], stdout);
        fflush(stdout);
    }
    putchar('\n');
    return 0;
}

#endif
