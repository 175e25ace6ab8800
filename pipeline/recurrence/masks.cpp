// Draws of torch's generator on the CPU, bit for bit those of Tensor.bernoulli_, many at a time.
//
// The generator is MT19937 (Matsumoto & Nishimura 1998); a number takes two of its words, whose last 53 bits over 2^53 are compared with the
// probability. pipeline/recurrence/masks.py calls this.

#include <cstdint>
#include <cstring>

namespace {

using Int = int64_t;

constexpr Int WORDS = 624, APART = 397;     // of a state; between the words that make a new one

inline uint32_t twisted(uint32_t word, uint32_t next) {
    return (((word & 0x80000000u) | (next & 0x7fffffffu)) >> 1) ^ ((next & 1u) ? 0x9908b0dfu : 0u);
}

void renew(uint32_t* state) {
#pragma GCC ivdep
    for (Int i = 0; i < WORDS - APART; i++) state[i] = state[i + APART] ^ twisted(state[i], state[i + 1]);
#pragma GCC ivdep
    for (Int i = WORDS - APART; i < WORDS - 1; i++) state[i] = state[i - (WORDS - APART)] ^ twisted(state[i], state[i + 1]);
    state[WORDS - 1] = state[APART - 1] ^ twisted(state[WORDS - 1], state[0]);
}

void temper(const uint32_t* state, Int count, uint32_t* words) {
#pragma GCC ivdep
    for (Int i = 0; i < count; i++) {
        uint32_t word = state[i];
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c5680u;
        word ^= (word << 15) & 0xefc60000u;
        words[i] = word ^ (word >> 18);
    }
}

// one where the number of two words is below `below`, else 0.
template <class T> void compare(const uint32_t* words, Int count, Int below, T one, T* out) {
#pragma GCC ivdep
    for (Int i = 0; i < count; i++) {
        const Int number = Int((uint64_t(words[2 * i]) << 32 | words[2 * i + 1]) & ((uint64_t(1) << 53) - 1));
        out[i] = number < below ? one : T(0);
    }
}

template <class T> void draw(uint32_t* state, Int* left, Int* next, Int count, Int below, T one, T* out) {
    uint32_t words[1 + WORDS];
    Int held = 0;                           // words that are left over, at the beginning
    for (Int wanted = 2 * count; wanted;) {
        if (!*left) renew(state), *left = WORDS, *next = 0;
        const Int taken = *left < wanted ? *left : wanted;
        temper(state + *next, taken, words + held);
        *left -= taken, *next += taken, wanted -= taken;
        const Int pairs = (held + taken) / 2;
        compare(words, pairs, below, one, out);
        out += pairs;
        if (2 * pairs < held + taken) words[0] = words[2 * pairs];
        held = held + taken - 2 * pairs;
    }
}

}  // namespace

extern "C" {

// The state's words, how many of them are left, and where the next one is; out [count] of numbers of so many bytes.
void draw_mask(uint32_t* state, Int* left, Int* next, Int count, Int below, double one, Int bytes, void* out) {
    if (bytes == 4) draw(state, left, next, count, below, float(one), (float*)out);
    else draw(state, left, next, count, below, one, (double*)out);
}

}
