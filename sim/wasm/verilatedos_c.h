// What Verilator's library asks of an operating system, for WebAssembly, which has none.
//
// Stands in for Verilator's own file of this name, which reads files of Linux for it.

#include "verilatedos.h"

namespace VlOs {

double DeltaCpuTime::gettime() { return 0; }
double DeltaWallTime::gettime() { return 0; }
uint16_t getcpu() { return 0; }
unsigned getProcessAvailableParallelism() { return 1; }
unsigned getProcessDefaultParallelism() { return 1; }
void memUsageBytes(uint64_t& peak, uint64_t& current) { peak = current = 0; }
std::string getenvStr(const std::string&, const std::string& otherwise) { return otherwise; }

}  // namespace VlOs
