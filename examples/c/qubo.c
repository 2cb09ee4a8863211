/*
 * Cuts a graph in two so that as much weight as can be lies between the parts (Max-Cut), in a memory budget stated beforehand:
 * built from triplets, planned, solved with a callback and a cancel from another thread, its samples read and checked.
 *
 *     qubo [SWEEPS [READS]]
 *     qubo --host             asks a solver of our own first
 *     qubo --cancel           without an end, until another thread cancels
 */
#include "qorus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 16, N = SIDE * SIDE, EDGES = 2 * N };

static uint32_t from[EDGES], to[EDGES];
static int64_t weight[EDGES];

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

/* A torus of SIDE by SIDE vertices whose edges weigh 1 or -1. */
static void make_graph(void) {
    uint32_t state = 7;
    int at = 0;
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            for (int way = 0; way < 2; way++) {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                from[at] = (uint32_t)(y * SIDE + x);
                to[at] = (uint32_t)(way ? (y + 1) % SIDE * SIDE + x : y * SIDE + (x + 1) % SIDE);
                weight[at++] = state >> 31 ? 1 : -1;
            }
        }
    }
}

/* A cut of x is the sum of w (x_i + x_j - 2 x_i x_j): three triplets for each edge. Equal ones are summed. */
static q_qubo *build(void) {
    static uint32_t i[3 * EDGES], j[3 * EDGES];
    static int64_t v[3 * EDGES];
    q_qubo *qubo = NULL;
    for (int e = 0; e < EDGES; e++) {
        i[3 * e] = j[3 * e] = i[3 * e + 2] = from[e];
        i[3 * e + 1] = j[3 * e + 1] = j[3 * e + 2] = to[e];
        v[3 * e] = v[3 * e + 1] = weight[e];
        v[3 * e + 2] = -2 * weight[e];
    }
    check(q_qubo_create_int(N, i, j, v, 3 * EDGES, 0, Q_QUBO_MAXIMIZE, &qubo));
    return qubo;
}

/* Written by the thread that solves, read by the one that cancels. */
static volatile int calls;

/* Looked at inside reads; anything but 0 would end the run. */
static int32_t on_progress(const q_qubo_progress *progress, void *user) {
    (void)progress, (void)user;
    calls++;
    return 0;
}

/* A solver of one's own, as a cloud or a device would be: here it colours the torus like a chess board. */
static int32_t chess(uint8_t *x, size_t n, double timeout, void *user) {
    (void)timeout, (void)user;
    for (size_t i = 0; i < n; i++) x[i] = (uint8_t)((i / SIDE + i % SIDE) % 2);
    return 0;
}

static void *cancel_soon(void *solver) {
    while (calls < 3) {}
    q_qubo_solver_cancel(solver);
    return NULL;
}

int main(int argc, char **argv) {
    const int host = argc > 1 && strcmp(argv[1], "--host") == 0, cancel = argc > 1 && strcmp(argv[1], "--cancel") == 0;
    q_qubo_params params;
    q_qubo_result result;
    q_qubo_info info;
    q_plan plan;
    q_qubo *qubo;
    q_qubo_solver *solver = NULL;
    pthread_t other;
    uint8_t x[N];
    double energy;
    uint64_t count;
    int64_t cut = 0;

    make_graph();
    qubo = build();
    check(q_qubo_describe(qubo, &info, sizeof info));
    check(q_qubo_params_init(&params, sizeof params));
    params.seed = 1;
    params.method = host ? Q_QUBO_HOST : Q_QUBO_ANNEAL;
    params.num_sweeps = !host && !cancel && argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    params.num_reads = cancel ? 1000000000 : argc > 2 ? strtoull(argv[2], NULL, 10) : 10;
    check(q_qubo_plan(qubo, &params, &plan, sizeof plan));
    params.budget = plan.total; /* one byte less would be Q_ERR_BUDGET */
    check(q_qubo_solver_create(qubo, &params, &solver));
    q_qubo_free(qubo); /* the solver keeps what it needs */
    if (host) check(q_qubo_solver_register(solver, chess, NULL));
    if (cancel && pthread_create(&other, NULL, cancel_soon, solver)) return 1;
    check(q_qubo_solver_run(solver, on_progress, NULL, &result, sizeof result));
    if (cancel) pthread_join(other, NULL);

    check(q_qubo_solver_sample(solver, 0, x, sizeof x, NULL, &energy, &count));
    for (int e = 0; e < EDGES; e++) cut += x[from[e]] != x[to[e]] ? weight[e] : 0;
    printf("%u vertices, %llu edges, %llu bytes to solve\n", (unsigned)info.variables,
           (unsigned long long)info.couplings, (unsigned long long)plan.total);
    printf("cut %g by %s%s\n", result.best, result.method, result.end == Q_QUBO_CANCELLED ? ", cancelled" : "");
    q_qubo_solver_free(solver);
    if ((double)cut != energy || energy != result.best || count == 0) return 1;
    return 0;
}
