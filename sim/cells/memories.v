// Memories outside the chip, with the registers of the pins: what they hold, and when they answer.
//
// A command that comes too early, or is none, sets `violation` for good and spoils what is read from
// then on: a design that asks too early gets no data. `rows` is written from outside the design.

// Serial flash that is read by command 0xEB; times in clock cycles.
module TRILIGHT_FLASH(clk, select, clock, o, oe, i, violation);
  parameter ROW_BITS = 23;  // rows of 16 bits
  parameter FIRST_BYTE = 0;  // address of row 0
  parameter DUMMY = 4;
  parameter WAKE = 144;
  parameter DESELECT = 3;
  input clk, select, clock;
  input [3:0] o, oe;
  output reg [3:0] i = 0;
  output reg violation = 0;
  reg [15:0] rows [0:(1 << ROW_BITS) - 1];

  // Registers of the pins.
  reg s = 0, c = 0;
  reg [3:0] d = 0, e = 0, q = 0;
  always @(posedge clk) begin s <= select; c <= clock; d <= o; e <= oe; i <= q; end

  reg down = 1;          // in power-down
  reg [15:0] rest = 0;   // cycles without select
  reg [15:0] since_wake = 0;
  reg waking = 0;
  reg [5:0] step = 0;
  reg [7:0] command = 0;
  reg [23:0] address = 0;
  reg low = 0;
  wire [23:0] place = address - FIRST_BYTE;
  wire [15:0] row = rows[place[ROW_BITS:1]];
  wire [7:0] octet = address[0] ? row[15:8] : row[7:0];
  localparam HEAD = 16 + DUMMY;
  always @(posedge clk) begin
    if (waking && !s) since_wake <= since_wake + 1;
    if (waking && since_wake >= WAKE) begin waking <= 0; down <= 0; end
    if (!s) begin
      if (rest != 16'hffff) rest <= rest + 1;
      if (step != 0 && step < 8) violation <= 1;
      if (step == 8 && command == 8'hab && down) begin waking <= 1; since_wake <= 0; end
      step <= 0;
      if (c) violation <= 1;
    end else begin
      rest <= 0;
      if (rest != 0 && (rest < DESELECT || waking)) violation <= 1;
      if (c) begin
        if (step < HEAD) step <= step + 1;
        if (step < 8) begin
          command <= {command[6:0], d[0]};
          if (!e[0]) violation <= 1;
        end else if (command != 8'heb || down) violation <= 1;
        else if (step < 14) begin
          address <= {address[19:0], d};
          if (e != 4'hf) violation <= 1;
        end else if (step < 16) begin
          if (d == 4'ha || e != 4'hf) violation <= 1;  // would be a mode without command
        end
        low <= 0;
        if (step >= HEAD - 1) begin
          if (e != 0 && step >= 16) violation <= 1;
          low <= !low;
          q <= (low ? octet[3:0] : octet[7:4]) ^ {4{violation}};
          if (low) address <= address + 1;
        end
      end
    end
  end
endmodule

// Synchronous DRAM of single data rate; times in clock cycles.
module TRILIGHT_SDRAM(clk, command, bank, address, o, oe, mask, i, violation);
  parameter DATA_BITS = 16;
  parameter COLUMN_BITS = 9;
  parameter ROW_BITS = 13;
  parameter BANK_BITS = 2;
  parameter ADDRESS_BITS = 13;
  parameter CAS = 3;
  parameter ACTIVATE = 2;
  parameter ACTIVE = 5;
  parameter PRECHARGE = 2;
  parameter REFRESH = 7;
  parameter WRITE_RECOVERY = 2;
  parameter INTERVAL = 781;
  parameter POWER_UP = 20000;
  localparam BANKS = 1 << BANK_BITS;
  localparam BITS = COLUMN_BITS + ROW_BITS + BANK_BITS + (DATA_BITS == 32 ? 1 : 0);
  input clk;
  input [2:0] command;
  input [BANK_BITS-1:0] bank;
  input [ADDRESS_BITS-1:0] address;
  input [DATA_BITS-1:0] o;
  input oe;
  input [DATA_BITS/8-1:0] mask;
  output reg [DATA_BITS-1:0] i = 0;
  output reg violation = 0;
  reg [15:0] rows [0:(1 << BITS) - 1];

  reg [2:0] com = 7;
  reg [BANK_BITS-1:0] b = 0;
  reg [ADDRESS_BITS-1:0] a = 0;
  reg [DATA_BITS-1:0] d = 0;
  reg e = 0;
  reg [DATA_BITS/8-1:0] k = 0;
  always @(posedge clk) begin com <= command; b <= bank; a <= address; d <= o; e <= oe; k <= mask; end

  reg [31:0] now = 0;
  reg [BANKS-1:0] open = 0;
  reg [ROW_BITS-1:0] row [0:BANKS-1];
  reg [31:0] activated [0:BANKS-1];
  reg [31:0] closed [0:BANKS-1];
  reg [31:0] written [0:BANKS-1];
  reg [31:0] busy_until = 0;
  reg [31:0] refreshed = 0;
  reg [3:0] refreshes = 0;
  reg [3:0] owed = 0;
  reg moded = 0;
  reg [DATA_BITS-1:0] data [0:CAS-1];
  wire [COLUMN_BITS+ROW_BITS+BANK_BITS-1:0] beat = {row[b], b, a[COLUMN_BITS-1:0]};
  integer n;
  initial for (n = 0; n < BANKS; n = n + 1) begin
    row[n] = 0; activated[n] = 0; closed[n] = 0; written[n] = 0;
  end
  always @(posedge clk) begin
    now <= now + 1;
    data[0] <= 0;
    for (n = 1; n < CAS; n = n + 1) data[n] <= data[n-1];
    i <= data[CAS-1] ^ {DATA_BITS{violation}};
    if (com != 7 && (now < POWER_UP || now < busy_until)) violation <= 1;
    if (moded && now - refreshed > 9 * INTERVAL) violation <= 1;
    case (com)
      3'b011: begin
        if (!moded || open[b] || now - closed[b] < PRECHARGE) violation <= 1;
        open[b] <= 1; row[b] <= a[ROW_BITS-1:0]; activated[b] <= now;
      end
      3'b101: begin
        if (!open[b] || now - activated[b] < ACTIVATE || a[10] || e) violation <= 1;
        if (DATA_BITS == 32) data[0] <= {rows[{beat, 1'b1}], rows[{beat, 1'b0}]};
        else data[0] <= rows[beat];
      end
      3'b100: begin
        if (!open[b] || now - activated[b] < ACTIVATE || a[10] || !e) violation <= 1;
        written[b] <= now;
        if (DATA_BITS == 32) begin
          if (!k[0]) rows[{beat, 1'b0}] <= d[15:0];
          if (!k[DATA_BITS/8-1]) rows[{beat, 1'b1}] <= d[DATA_BITS-1:DATA_BITS-16];
        end else if (!k[0]) rows[beat] <= d;
      end
      3'b010: begin
        for (n = 0; n < BANKS; n = n + 1) if (a[10] || n == b) begin
          if (open[n] && (now - activated[n] < ACTIVE || (written[n] != 0 && now - written[n] < WRITE_RECOVERY)))
            violation <= 1;
          open[n] <= 0; closed[n] <= now;
        end
      end
      3'b001: begin
        if (open != 0) violation <= 1;
        for (n = 0; n < BANKS; n = n + 1) if (now - closed[n] < PRECHARGE) violation <= 1;
        busy_until <= now + REFRESH;
        // A chip may be late for eight refreshes, not on average.
        refreshed <= (now - refreshed > INTERVAL && refreshed != 0) ? refreshed + INTERVAL : now;
        if (refreshes != 15) refreshes <= refreshes + 1;
      end
      3'b000: begin
        if (refreshes < 2 || open != 0 || a[6:4] != CAS || a[2:0] != 0) violation <= 1;
        moded <= 1; busy_until <= now + 2;
      end
      default: ;
    endcase
  end
endmodule

// A memory that gives a word per cycle, or after random pauses; see `WordPort`.
module TRILIGHT_WORDS(clk, request_valid, request_ready, request_write, request_tag, request_unit,
                      request_data, word_valid, word_ready, word_tag, word);
  parameter ROW_BITS = 20;
  parameter UNIT_BITS = 20;
  parameter UNITS = 4;  // 16-bit rows of a word
  parameter WORD_BITS = 64;
  parameter LATENCY = 1;
  parameter PAUSES = 0;
  parameter SEED = 1;
  input clk, request_valid, request_write, word_ready;
  input [1:0] request_tag;
  input [UNIT_BITS-1:0] request_unit;
  input [15:0] request_data;
  output request_ready, word_valid;
  output [1:0] word_tag;
  output [WORD_BITS-1:0] word;
  reg [15:0] rows [0:(1 << ROW_BITS) - 1];

  reg active = 0;
  reg [ROW_BITS-1:0] at = 0;
  reg [1:0] tag = 0;
  reg [15:0] wait_for = 0;
  reg [31:0] random = SEED;
  assign request_ready = 1;
  assign word_valid = active && wait_for == 0;
  assign word_tag = tag;
  genvar u;
  generate for (u = 0; u < UNITS; u = u + 1) begin : units
    wire [15:0] row = rows[at | u];
    if (16 * u < WORD_BITS) begin : used
      localparam TOP = 16 * u + 16 < WORD_BITS ? 16 * u + 15 : WORD_BITS - 1;
      assign word[TOP:16 * u] = row[TOP - 16 * u:0];
    end
  end endgenerate
  always @(posedge clk) begin
    random <= {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
    if (wait_for != 0) wait_for <= wait_for - 1;
    if (word_valid && word_ready) begin
      at <= at + UNITS;
      if (random[7:0] < PAUSES) wait_for <= random[12:9];
    end
    if (request_valid) begin
      if (request_write) rows[request_unit[ROW_BITS-1:0]] <= request_data;
      else begin
        active <= 1; at <= request_unit[ROW_BITS-1:0]; tag <= request_tag; wait_for <= LATENCY - 1;
      end
    end
  end
endmodule
