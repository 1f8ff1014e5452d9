// All operations that folding-faults.test.ts takes samples of.
process.env.FOLDING_FAULT_RUNS = 'Infinity';
await import('./folding-faults.test.ts');
