// Models of the Gowin cells that a Trilight netlist is made of, for Verilator.
//
// Logic behaves bit for bit like the models that Yosys ships. Of block RAM and multipliers Yosys
// ships none: these follow Gowin UG285 (BSRAM) and UG287 (DSP), in the modes that Yosys maps to,
// and are held against the RTL that was mapped (tests/sim/cells/test_cells_gowin.py). A mode without
// a model needs a module that does not exist, which stops the elaboration.

module LUT1 (input I0, output F);
  parameter [1:0] INIT = 0;
  assign F = INIT[I0];
endmodule

module LUT2 (input I0, I1, output F);
  parameter [3:0] INIT = 0;
  assign F = INIT[{I1, I0}];
endmodule

module LUT3 (input I0, I1, I2, output F);
  parameter [7:0] INIT = 0;
  assign F = INIT[{I2, I1, I0}];
endmodule

module LUT4 (input I0, I1, I2, I3, output F);
  parameter [15:0] INIT = 0;
  assign F = INIT[{I3, I2, I1, I0}];
endmodule

module MUX2_LUT5 (input I0, I1, S0, output O);
  assign O = S0 ? I1 : I0;
endmodule

module MUX2_LUT6 (input I0, I1, S0, output O);
  assign O = S0 ? I1 : I0;
endmodule

module MUX2_LUT7 (input I0, I1, S0, output O);
  assign O = S0 ? I1 : I0;
endmodule

module MUX2_LUT8 (input I0, I1, S0, output O);
  assign O = S0 ? I1 : I0;
endmodule

// A bit of an adder; Yosys uses one mode, in which I3 chooses between adding and subtracting.
module ALU (input I0, I1, I3, CIN, output SUM, COUT);
  parameter ALU_MODE = 0;
  generate
    if (ALU_MODE != 2) no_model_of_this_mode adder();
  endgenerate
  wire differ = I0 ^ I1 ^ ~I3;
  assign SUM = differ ^ CIN;
  assign COUT = differ ? CIN : I0;
endmodule

module DFF (input D, CLK, output reg Q);
  parameter [0:0] INIT = 0;
  initial Q = INIT;
  always @(posedge CLK) Q <= D;
endmodule

module DFFE (input D, CLK, CE, output reg Q);
  parameter [0:0] INIT = 0;
  initial Q = INIT;
  always @(posedge CLK) if (CE) Q <= D;
endmodule

module DFFR (input D, CLK, RESET, output reg Q);
  parameter [0:0] INIT = 0;
  initial Q = INIT;
  always @(posedge CLK) Q <= D & ~RESET;
endmodule

module DFFRE (input D, CLK, CE, RESET, output reg Q);
  parameter [0:0] INIT = 0;
  initial Q = INIT;
  always @(posedge CLK) if (RESET | CE) Q <= D & ~RESET;
endmodule

module DFFS (input D, CLK, SET, output reg Q);
  parameter [0:0] INIT = 1;
  initial Q = INIT;
  always @(posedge CLK) Q <= D | SET;
endmodule

module DFFSE (input D, CLK, CE, SET, output reg Q);
  parameter [0:0] INIT = 1;
  initial Q = INIT;
  always @(posedge CLK) if (SET | CE) Q <= D | SET;
endmodule

module RAM16SDP4 (input [3:0] DI, WAD, RAD, input WRE, CLK, output [3:0] DO);
  parameter [15:0] INIT_0 = 0, INIT_1 = 0, INIT_2 = 0, INIT_3 = 0;
  reg [3:0] rows [0:15];
  integer row;
  initial for (row = 0; row < 16; row = row + 1)
    rows[row] = {INIT_3[row], INIT_2[row], INIT_1[row], INIT_0[row]};
  always @(posedge CLK) if (WRE) rows[WAD] <= DI;
  assign DO = rows[RAD];
endmodule

// Bits of a row that a port of some width means by an address.
module bsram_place #(parameter WIDTH = 32, BYTE = 8) (
  input [13:0] address,
  output [8:0] row, output [5:0] place, output [4*BYTE-1:0] mask
);
  assign row = address[13:5];
  wire [5:0] first = BYTE[5:0] * {4'd0, address[4:3]};
  generate
    if (WIDTH == 1) begin
      assign place = first + {3'd0, address[2:0]};
      assign mask = {{4*BYTE-1{1'b0}}, 1'b1} << place;
    end else if (WIDTH == 2) begin
      assign place = first + {3'd0, address[2:1], 1'b0};
      assign mask = {{4*BYTE-2{1'b0}}, 2'b11} << place;
    end else if (WIDTH == 4) begin
      assign place = first + {3'd0, address[2], 2'd0};
      assign mask = {{4*BYTE-4{1'b0}}, 4'b1111} << place;
    end else if (WIDTH == BYTE) begin
      assign place = first;
      assign mask = {{3*BYTE{1'b0}}, {BYTE{1'b1}}} << place;
    end else if (WIDTH == 2 * BYTE) begin
      // The lowest bits of the address enable bytes.
      assign place = address[4] ? 2 * BYTE : 0;
      assign mask = {{2*BYTE{1'b0}}, {BYTE{address[1]}}, {BYTE{address[0]}}} << place;
    end else if (WIDTH == 4 * BYTE) begin
      assign place = 0;
      assign mask = {{BYTE{address[3]}}, {BYTE{address[2]}}, {BYTE{address[1]}},
        {BYTE{address[0]}}};
    end else no_model_of_this_mode bsram();
  endgenerate
endmodule

// Output of a port: what it reads, or with what it writes if it is written through.
module bsram_output #(parameter WIDTH = 32, BYTE = 8, WRITE_MODE = 0, RESET_MODE = "SYNC") (
  input clock, reset, enable, write,
  input [5:0] place, input [4*BYTE-1:0] row, given,
  output [4*BYTE-1:0] data
);
  reg [4*BYTE-1:0] out = 0;
  wire [4*BYTE-1:0] next = write & WRITE_MODE == 1 ? given : row >> place;
  wire take = enable & (~write | WRITE_MODE != 0);
  generate
    if (RESET_MODE == "ASYNC") begin
      always @(posedge clock or posedge reset) if (reset) out <= 0; else if (take) out <= next;
    end else begin
      always @(posedge clock) if (reset) out <= 0; else if (take) out <= next;
    end
  endgenerate
  assign data = out & ({4*BYTE{1'b1}} >> (4 * BYTE - WIDTH));
endmodule

// 512 rows of four bytes behind two ports, each of its own width. Bits that the other port writes
// in the same cycle read inverted: the part gives no word for them, and what reads them must not
// matter.
module bsram #(
  parameter WIDTH_A = 32, WIDTH_B = 32, BYTE = 8, WRITE_MODE_A = 0, WRITE_MODE_B = 0,
  parameter RESET_MODE = "SYNC", parameter [2048*BYTE-1:0] INIT = 0
) (
  input clock_a, reset_a, enable_a, write_a, clock_b, reset_b, enable_b, write_b,
  input [13:0] address_a, address_b, input [4*BYTE-1:0] given_a, given_b,
  output [4*BYTE-1:0] data_a, data_b
);
  reg [4*BYTE-1:0] rows [0:511];
  integer k;
  initial for (k = 0; k < 512; k = k + 1) rows[k] = INIT[4 * BYTE * k +: 4 * BYTE];

  wire [8:0] row_a, row_b;
  wire [5:0] place_a, place_b;
  wire [4*BYTE-1:0] mask_a, mask_b;
  bsram_place #(.WIDTH(WIDTH_A), .BYTE(BYTE)) find_a (
    .address(address_a), .row(row_a), .place(place_a), .mask(mask_a));
  bsram_place #(.WIDTH(WIDTH_B), .BYTE(BYTE)) find_b (
    .address(address_b), .row(row_b), .place(place_b), .mask(mask_b));

  wire writes_a = enable_a & write_a;
  wire writes_b = enable_b & write_b;
  always @(posedge clock_a) if (writes_a)
    rows[row_a] <= (rows[row_a] & ~mask_a) | (given_a << place_a & mask_a);
  always @(posedge clock_b) if (writes_b)
    rows[row_b] <= (rows[row_b] & ~mask_b) | (given_b << place_b & mask_b);

  wire meet = row_a == row_b;
  bsram_output #(.WIDTH(WIDTH_A), .BYTE(BYTE), .WRITE_MODE(WRITE_MODE_A), .RESET_MODE(RESET_MODE))
    out_a (.clock(clock_a), .reset(reset_a), .enable(enable_a), .write(write_a), .place(place_a),
      .row(rows[row_a] ^ (writes_b && meet ? mask_b : 0)), .given(given_a), .data(data_a));
  bsram_output #(.WIDTH(WIDTH_B), .BYTE(BYTE), .WRITE_MODE(WRITE_MODE_B), .RESET_MODE(RESET_MODE))
    out_b (.clock(clock_b), .reset(reset_b), .enable(enable_b), .write(write_b), .place(place_b),
      .row(rows[row_b] ^ (writes_a && meet ? mask_a : 0)), .given(given_b), .data(data_b));
endmodule

// Contents, of bytes of 8 bits or of 9.
`define INIT_PARAMETERS(bits) parameter [bits-1:0] \
  INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, \
  INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0, \
  INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, \
  INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0, \
  INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, \
  INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0, \
  INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, \
  INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0, \
  INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, \
  INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0, \
  INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, \
  INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0, \
  INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, \
  INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0, \
  INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, \
  INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0;
`define INIT_RAM { \
  INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, \
  INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38, \
  INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, \
  INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, \
  INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, \
  INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, \
  INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, \
  INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, \
  INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, \
  INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, \
  INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, \
  INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, \
  INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, \
  INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, \
  INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, \
  INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00}

module SP (
  input CLK, CE, OCE, WRE, RESET, input [2:0] BLKSEL, input [13:0] AD, input [31:0] DI,
  output [31:0] DO
);
  parameter READ_MODE = 0, WRITE_MODE = 0, BIT_WIDTH = 32, BLK_SEL = 0, RESET_MODE = "SYNC";
  `INIT_PARAMETERS(256)
  generate
    if (READ_MODE != 0 || WRITE_MODE > 1) no_model_of_this_mode ram();
  endgenerate
  wire [31:0] unused;
  bsram #(.WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .BYTE(8), .WRITE_MODE_A(WRITE_MODE),
    .RESET_MODE(RESET_MODE), .INIT(`INIT_RAM)) ram (
    .clock_a(CLK), .reset_a(RESET), .enable_a(CE & BLKSEL == BLK_SEL), .write_a(WRE),
    .address_a(AD), .given_a(DI), .data_a(DO), .clock_b(1'b0), .reset_b(1'b0), .enable_b(1'b0),
    .write_b(1'b0), .address_b(14'd0), .given_b(32'd0), .data_b(unused));
endmodule

module SPX9 (
  input CLK, CE, OCE, WRE, RESET, input [2:0] BLKSEL, input [13:0] AD, input [35:0] DI,
  output [35:0] DO
);
  parameter READ_MODE = 0, WRITE_MODE = 0, BIT_WIDTH = 36, BLK_SEL = 0, RESET_MODE = "SYNC";
  `INIT_PARAMETERS(288)
  generate
    if (READ_MODE != 0 || WRITE_MODE > 1) no_model_of_this_mode ram();
  endgenerate
  wire [35:0] unused;
  bsram #(.WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .BYTE(9), .WRITE_MODE_A(WRITE_MODE),
    .RESET_MODE(RESET_MODE), .INIT(`INIT_RAM)) ram (
    .clock_a(CLK), .reset_a(RESET), .enable_a(CE & BLKSEL == BLK_SEL), .write_a(WRE),
    .address_a(AD), .given_a(DI), .data_a(DO), .clock_b(1'b0), .reset_b(1'b0), .enable_b(1'b0),
    .write_b(1'b0), .address_b(14'd0), .given_b(36'd0), .data_b(unused));
endmodule

module SDPB (
  input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [2:0] BLKSELA, BLKSELB,
  input [13:0] ADA, ADB, input [31:0] DI, output [31:0] DO
);
  parameter READ_MODE = 0, BIT_WIDTH_0 = 32, BIT_WIDTH_1 = 32, BLK_SEL_0 = 0, BLK_SEL_1 = 0;
  parameter RESET_MODE = "SYNC";
  `INIT_PARAMETERS(256)
  generate
    if (READ_MODE != 0) no_model_of_this_mode ram();
  endgenerate
  wire [31:0] unused;
  bsram #(.WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .BYTE(8), .RESET_MODE(RESET_MODE),
    .INIT(`INIT_RAM)) ram (
    .clock_a(CLKA), .reset_a(RESETA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(1'b1),
    .address_a(ADA), .given_a(DI), .data_a(unused), .clock_b(CLKB), .reset_b(RESETB),
    .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(1'b0), .address_b(ADB), .given_b(32'd0),
    .data_b(DO));
endmodule

module SDPX9B (
  input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [2:0] BLKSELA, BLKSELB,
  input [13:0] ADA, ADB, input [35:0] DI, output [35:0] DO
);
  parameter READ_MODE = 0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, BLK_SEL_0 = 0, BLK_SEL_1 = 0;
  parameter RESET_MODE = "SYNC";
  `INIT_PARAMETERS(288)
  generate
    if (READ_MODE != 0) no_model_of_this_mode ram();
  endgenerate
  wire [35:0] unused;
  bsram #(.WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .BYTE(9), .RESET_MODE(RESET_MODE),
    .INIT(`INIT_RAM)) ram (
    .clock_a(CLKA), .reset_a(RESETA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(1'b1),
    .address_a(ADA), .given_a(DI), .data_a(unused), .clock_b(CLKB), .reset_b(RESETB),
    .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(1'b0), .address_b(ADB), .given_b(36'd0),
    .data_b(DO));
endmodule

module DPB (
  input CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB, input [2:0] BLKSELA, BLKSELB,
  input [13:0] ADA, ADB, input [15:0] DIA, DIB, output [15:0] DOA, DOB
);
  parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0;
  parameter BIT_WIDTH_0 = 16, BIT_WIDTH_1 = 16, BLK_SEL_0 = 0, BLK_SEL_1 = 0;
  parameter RESET_MODE = "SYNC";
  `INIT_PARAMETERS(256)
  generate
    if (READ_MODE0 != 0 || READ_MODE1 != 0 || WRITE_MODE0 > 1 || WRITE_MODE1 > 1)
      no_model_of_this_mode ram();
  endgenerate
  wire [15:0] unused_a, unused_b;
  bsram #(.WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .BYTE(8), .WRITE_MODE_A(WRITE_MODE0),
    .WRITE_MODE_B(WRITE_MODE1), .RESET_MODE(RESET_MODE), .INIT(`INIT_RAM)) ram (
    .clock_a(CLKA), .reset_a(RESETA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(WREA),
    .address_a(ADA), .given_a({16'd0, DIA}), .data_a({unused_a, DOA}),
    .clock_b(CLKB), .reset_b(RESETB), .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(WREB),
    .address_b(ADB), .given_b({16'd0, DIB}), .data_b({unused_b, DOB}));
endmodule

module DPX9B (
  input CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB, input [2:0] BLKSELA, BLKSELB,
  input [13:0] ADA, ADB, input [17:0] DIA, DIB, output [17:0] DOA, DOB
);
  parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0;
  parameter BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18, BLK_SEL_0 = 0, BLK_SEL_1 = 0;
  parameter RESET_MODE = "SYNC";
  `INIT_PARAMETERS(288)
  generate
    if (READ_MODE0 != 0 || READ_MODE1 != 0 || WRITE_MODE0 > 1 || WRITE_MODE1 > 1)
      no_model_of_this_mode ram();
  endgenerate
  wire [17:0] unused_a, unused_b;
  bsram #(.WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .BYTE(9), .WRITE_MODE_A(WRITE_MODE0),
    .WRITE_MODE_B(WRITE_MODE1), .RESET_MODE(RESET_MODE), .INIT(`INIT_RAM)) ram (
    .clock_a(CLKA), .reset_a(RESETA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(WREA),
    .address_a(ADA), .given_a({18'd0, DIA}), .data_a({unused_a, DOA}),
    .clock_b(CLKB), .reset_b(RESETB), .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(WREB),
    .address_b(ADB), .given_b({18'd0, DIB}), .data_b({unused_b, DOB}));
endmodule

// A product in one cycle. The pins and registers of a chain of multipliers are left out.
module multiplier #(parameter WIDTH = 18, REGISTERS = 0) (
  input [WIDTH-1:0] a, b, input signed_a, signed_b, output [2*WIDTH-1:0] product
);
  generate
    if (REGISTERS != 0) no_model_of_this_mode multiplier();
  endgenerate
  assign product = {{WIDTH{signed_a & a[WIDTH-1]}}, a} * {{WIDTH{signed_b & b[WIDTH-1]}}, b};
endmodule

module MULT9X9 (
  input [8:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [17:0] DOUT, output [8:0] SOA, SOB
);
  parameter AREG = 0, BREG = 0, OUT_REG = 0, PIPE_REG = 0, ASIGN_REG = 0, BSIGN_REG = 0;
  parameter SOA_REG = 0, MULT_RESET_MODE = "SYNC";
  multiplier #(.WIDTH(9), .REGISTERS(AREG + BREG + OUT_REG + PIPE_REG + ASIGN_REG + BSIGN_REG))
    multiplier (.a(A), .b(B), .signed_a(ASIGN), .signed_b(BSIGN), .product(DOUT));
  assign {SOA, SOB} = 0;
endmodule

module MULT18X18 (
  input [17:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [35:0] DOUT, output [17:0] SOA, SOB
);
  parameter AREG = 0, BREG = 0, OUT_REG = 0, PIPE_REG = 0, ASIGN_REG = 0, BSIGN_REG = 0;
  parameter SOA_REG = 0, MULT_RESET_MODE = "SYNC";
  multiplier #(.WIDTH(18), .REGISTERS(AREG + BREG + OUT_REG + PIPE_REG + ASIGN_REG + BSIGN_REG))
    multiplier (.a(A), .b(B), .signed_a(ASIGN), .signed_b(BSIGN), .product(DOUT));
  assign {SOA, SOB} = 0;
endmodule

module GND (output G);
  assign G = 1'b0;
endmodule

module VCC (output V);
  assign V = 1'b1;
endmodule

// Pins, and the PLL.
module IBUF (input I, output O);
  assign O = I;
endmodule

module OBUF (input I, output O);
  assign O = I;
endmodule

module TBUF (input I, OEN, output O);
  assign O = I;
endmodule

// The simulated pin clock is the PLL's output: a simulated cycle is a cycle of the chip.
module rPLL (
  input CLKIN, CLKFB, RESET, RESET_P,
  input [5:0] FBDSEL, IDSEL, ODSEL,
  input [3:0] PSDA, DUTYDA, FDLY,
  output CLKOUT, CLKOUTP, CLKOUTD, CLKOUTD3, LOCK
);
  parameter FCLKIN = "27", IDIV_SEL = 0, FBDIV_SEL = 0, ODIV_SEL = 8;

  assign CLKOUT = CLKIN;
  assign LOCK = ~RESET;
endmodule
