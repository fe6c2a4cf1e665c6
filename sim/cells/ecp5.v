// Models of the ECP5 cells that a Trilight netlist is made of, for Verilator.
//
// Logic behaves bit for bit like the models that Yosys ships. Of DP16KD and MULT18X18D Yosys ships
// none: these follow Lattice FPGA-TN-02204 (memories) and FPGA-TN-02205 (multipliers), in the modes
// that Yosys maps to, and are held against the RTL that was mapped (tests/sim/cells/test_cells_ecp5.py).
// A mode without a model needs a module that does not exist, which stops the elaboration.

module LUT4 (input A, B, C, D, output Z);
  parameter [15:0] INIT = 0;
  assign Z = INIT[{D, C, B, A}];
endmodule

module PFUMX (input ALUT, BLUT, C0, output Z);
  assign Z = C0 ? ALUT : BLUT;
endmodule

module L6MUX21 (input D0, D1, SD, output Z);
  assign Z = SD ? D1 : D0;
endmodule

// Two bits of an adder, each a table whose lower quarter tells what is carried.
module CCU2C (
  input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
  output S0, S1, COUT
);
  parameter [15:0] INIT0 = 0, INIT1 = 0;
  parameter INJECT1_0 = "YES", INJECT1_1 = "YES";
  localparam CARRY_0 = INJECT1_0 != "YES", CARRY_1 = INJECT1_1 != "YES";

  wire table_0 = INIT0[{D0, C0, B0, A0}];
  wire table_1 = INIT1[{D1, C1, B1, A1}];
  wire carry = table_0 ? CIN : CARRY_0 & INIT0[{2'b00, B0, A0}];
  assign S0 = table_0 ^ (CARRY_0 & CIN);
  assign S1 = table_1 ^ (CARRY_1 & carry);
  assign COUT = table_1 ? carry : CARRY_1 & INIT1[{2'b00, B1, A1}];
endmodule

module TRELLIS_FF (input CLK, LSR, CE, DI, M, output reg Q);
  parameter GSR = "ENABLED", CEMUX = "1", CLKMUX = "CLK", LSRMUX = "LSR";
  parameter SRMODE = "LSR_OVER_CE", REGSET = "RESET", LSRMODE = "LSR";
  localparam VALUE = REGSET == "SET";

  generate
    if (LSRMODE != "LSR") no_model_of_this_mode flip_flop();
  endgenerate

  wire enable;
  generate
    if (CEMUX == "1") assign enable = 1'b1;
    else if (CEMUX == "0") assign enable = 1'b0;
    else if (CEMUX == "INV") assign enable = ~CE;
    else assign enable = CE;
  endgenerate
  wire clock = CLK ^ (CLKMUX == "INV");
  wire set = LSR ^ (LSRMUX == "INV");
  initial Q = VALUE;
  generate
    if (SRMODE == "ASYNC") begin
      always @(posedge clock or posedge set) if (set) Q <= VALUE; else if (enable) Q <= DI;
    end else begin
      always @(posedge clock) if (set) Q <= VALUE; else if (enable) Q <= DI;
    end
  endgenerate
endmodule

module TRELLIS_DPR16X4 (
  input [3:0] DI, WAD, RAD,
  input WRE, WCK,
  output [3:0] DO
);
  parameter WCKMUX = "WCK", WREMUX = "WRE";
  parameter [63:0] INITVAL = 0;

  reg [3:0] rows [0:15];
  integer row;
  initial for (row = 0; row < 16; row = row + 1) rows[row] = INITVAL[4 * row +: 4];

  wire write;
  generate
    if (WREMUX == "1") assign write = 1'b1;
    else if (WREMUX == "0") assign write = 1'b0;
    else if (WREMUX == "INV") assign write = ~WRE;
    else assign write = WRE;
  endgenerate
  wire clock = WCK ^ (WCKMUX == "INV");
  always @(posedge clock) if (write) rows[WAD] <= DI;
  assign DO = rows[RAD];
endmodule

// 1,024 rows of 18 bits behind two ports. A port of 18 bits takes a row, whose halves of 9 bits its
// lowest address bits enable; one of 9 bits a half; narrower ones leave the ninth bit alone. With
// 36 bits port A writes two rows, and port B reads two. Bits that the other port writes in the
// same cycle read inverted: the part gives no word for them, and what reads them must not matter.
module DP16KD (
  input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
  input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
  input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13,
    DIA14, DIA15, DIA16, DIA17,
  input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13,
    DIB14, DIB15, DIB16, DIB17,
  output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13,
    DOA14, DOA15, DOA16, DOA17,
  output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13,
    DOB14, DOB15, DOB16, DOB17,
  input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
  input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2
);
  parameter integer DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter GSR = "AUTO", INIT_DATA = "STATIC";
  parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0;
  parameter [319:0] INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0;
  parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0;
  parameter [319:0] INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0;
  parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0;
  parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0;
  parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0;
  parameter [319:0] INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0;
  parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0;
  parameter [319:0] INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
  parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0;
  parameter [319:0] INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0;
  parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0;
  parameter [319:0] INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0;
  parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0;
  parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;
  // Of the 20 bits that are kept for a row, 18 are used.
  localparam [20479:0] INIT = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

  generate
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB"
        || WRITEMODE_A == "WRITETHROUGH" || WRITEMODE_B == "WRITETHROUGH"
        || CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
      no_model_of_this_mode dp16kd();
  endgenerate

  reg [17:0] rows [0:1023];
  integer row;
  initial for (row = 0; row < 1024; row = row + 1) rows[row] = INIT[20 * row +: 18];

  wire [13:0] address_a = {
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] address_b = {
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] data_a = {
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0};
  wire [17:0] data_b = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0};

  function [17:0] spread(input integer width, input [17:0] data);
    case (width)
      1: spread = {18{data[0]}};
      2: spread = {1'b0, {4{data[1:0]}}, 1'b0, {4{data[1:0]}}};
      4: spread = {1'b0, {2{data[3:0]}}, 1'b0, {2{data[3:0]}}};
      9: spread = {2{data[8:0]}};
      default: spread = data;
    endcase
  endfunction

  function [4:0] place(input integer width, input [3:0] address);
    case (width)
      1: place = address[2:0] + (address[3] ? 5'd9 : 5'd0);
      2: place = {address[2:1], 1'b0} + (address[3] ? 5'd9 : 5'd0);
      4: place = {address[2], 2'b00} + (address[3] ? 5'd9 : 5'd0);
      9: place = address[3] ? 5'd9 : 5'd0;
      default: place = 5'd0;
    endcase
  endfunction

  function [17:0] bits(input integer width, input [3:0] address);
    case (width)
      1: bits = 18'h1 << place(1, address);
      2: bits = 18'h3 << place(2, address);
      4: bits = 18'hf << place(4, address);
      9: bits = 18'h1ff << place(9, address);
      default: bits = {{9{address[1]}}, {9{address[0]}}};
    endcase
  endfunction

  wire selected_a = CEA & ~(CSA0 | CSA1 | CSA2);
  wire selected_b = CEB & ~(CSB0 | CSB1 | CSB2);
  wire write_a = selected_a & WEA;
  wire write_b = selected_b & WEB;
  wire wide_a = DATA_WIDTH_A == 36;
  wire wide_b = DATA_WIDTH_B == 36;
  wire [9:0] row_a = wide_a ? {address_a[13:5], 1'b0} : address_a[13:4];
  wire [9:0] row_b = wide_b ? {address_b[13:5], 1'b0} : address_b[13:4];
  wire [17:0] mask_a = bits(DATA_WIDTH_A, address_a[3:0]);
  wire [17:0] mask_b = bits(DATA_WIDTH_B, address_b[3:0]);
  wire [17:0] high_a = {{9{address_a[3]}}, {9{address_a[2]}}};
  always @(posedge CLKA) if (write_a) begin
    rows[row_a] <= (rows[row_a] & ~mask_a) | (spread(DATA_WIDTH_A, data_a) & mask_a);
    if (wide_a) rows[row_a | 10'd1] <= (rows[row_a | 10'd1] & ~high_a) | (data_b & high_a);
  end
  generate
    if (DATA_WIDTH_A != 36)
      always @(posedge CLKB) if (write_b)
        rows[row_b] <= (rows[row_b] & ~mask_b) | (spread(DATA_WIDTH_B, data_b) & mask_b);
  endgenerate

  // What the other port changes in this cycle.
  function [17:0] changed(input write, input [9:0] at, input [17:0] mask, input [9:0] asked);
    changed = write && at == asked ? mask : 18'd0;
  endfunction
  wire [17:0] by_b = DATA_WIDTH_A == 36 ? 18'd0 : changed(write_b, row_b, mask_b, row_a);
  wire [17:0] low_by_a = changed(write_a, row_a, mask_a, row_b)
    | (wide_a ? changed(write_a, row_a | 10'd1, high_a, row_b) : 18'd0);
  wire [17:0] high_by_a = changed(write_a, row_a, mask_a, row_b | 10'd1)
    | (wide_a ? changed(write_a, row_a | 10'd1, high_a, row_b | 10'd1) : 18'd0);

  // In the mode READBEFOREWRITE a port that writes reads what was there.
  wire read_a = selected_a & (~WEA | (WRITEMODE_A == "READBEFOREWRITE"));
  wire read_b = selected_b & (~WEB | (WRITEMODE_B == "READBEFOREWRITE"));
  wire [17:0] next_a = (rows[row_a] ^ by_b) >> place(DATA_WIDTH_A, address_a[3:0]);
  wire [17:0] next_b = (rows[row_b] ^ low_by_a) >> place(DATA_WIDTH_B, address_b[3:0]);
  wire [17:0] next_high = rows[row_b | 10'd1] ^ high_by_a;
  reg [17:0] out_a = 0, out_b = 0, out_high = 0;
  generate
    if (RESETMODE == "ASYNC") begin
      always @(posedge CLKA or posedge RSTA)
        if (RSTA) out_a <= 0; else if (read_a) out_a <= next_a;
      always @(posedge CLKB or posedge RSTB)
        if (RSTB) {out_high, out_b} <= 0; else if (read_b) {out_high, out_b} <= {next_high, next_b};
    end else begin
      always @(posedge CLKA) if (RSTA) out_a <= 0; else if (read_a) out_a <= next_a;
      always @(posedge CLKB)
        if (RSTB) {out_high, out_b} <= 0; else if (read_b) {out_high, out_b} <= {next_high, next_b};
    end
  endgenerate
  function [17:0] narrowed(input integer width, input [17:0] data);
    narrowed = width >= 18 ? data : data & ~(18'h3ffff << width);
  endfunction
  assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0} = wide_b ? out_b : narrowed(DATA_WIDTH_A, out_a);
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0} = wide_b ? out_high : narrowed(DATA_WIDTH_B, out_b);
endmodule

// A product of 18-bit factors in one cycle. The pins and registers of a chain of multipliers are
// left out.
module MULT18X18D (
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18,
    P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_INPUTC_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE";

  generate
    if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE"
        || REG_OUTPUT_CLK != "NONE")
      no_model_of_this_mode multiplier();
  endgenerate

  wire [17:0] a = {
    A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {
    B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire [35:0] product = {{18{SIGNEDA & a[17]}}, a} * {{18{SIGNEDB & b[17]}}, b};
  assign {
    P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = product;
endmodule

// Pins: TRELLIS_IO by its direction, and what a design has before it is mapped.
module TRELLIS_INPUT (input B, I, T, output O);
  parameter DIR = "INPUT";
  assign O = B;
endmodule

module TRELLIS_OUTPUT (output B, O, input I, T);
  parameter DIR = "OUTPUT";
  assign B = I;
endmodule

module IB (input I, output O);
  assign O = I;
endmodule

module OBZ (input I, T, output O);
  assign O = I;
endmodule

// Clock of the flash memory: its pin is no port of the design, so what arrives here is traced.
module USRMCLK (input USRMCLKI, USRMCLKTS);
endmodule

// The simulated pin clock is the PLL's output: a simulated cycle is a cycle of the chip.
module EHXPLLL (
  input CLKI, CLKFB, PHASESEL1, PHASESEL0, PHASEDIR, PHASESTEP, PHASELOADREG,
  input STDBY, PLLWAKESYNC, RST, ENCLKOP, ENCLKOS, ENCLKOS2, ENCLKOS3,
  output CLKOP, CLKOS, CLKOS2, CLKOS3, LOCK, INTLOCK, REFCLK, CLKINTFB
);
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0;
  parameter CLKOP_ENABLE = "ENABLED", FEEDBK_PATH = "CLKOP", PLLRST_ENA = "DISABLED";
  parameter INTFB_WAKE = "DISABLED", STDBY_ENABLE = "DISABLED", DPHASE_SOURCE = "DISABLED";
  parameter OUTDIVIDER_MUXA = "DIVA", OUTDIVIDER_MUXB = "DIVB";
  parameter OUTDIVIDER_MUXC = "DIVC", OUTDIVIDER_MUXD = "DIVD";

  assign CLKOP = CLKI;
  assign LOCK = ~RST;
endmodule
