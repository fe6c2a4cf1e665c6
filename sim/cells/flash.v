// A SPI flash memory beside a simulated chip: mode 0, one bit wide, READ and release from power-down.
//
// It looks at its pins at each clock of the chip, so its answer comes a cycle after an edge. It
// holds the first half of a slot of 1,048,576 bytes, the same in every slot, for nobody holds down
// a button here; eight bytes in a row, inverted, so that an empty one is erased.
module spi_flash(input clock, cs_n, sck, mosi, output miso);
  reg [63:0] rows [0:65535];
  reg asleep = 1;
  reg was_cs_n = 1;
  reg was_sck = 0;
  reg level = 1;
  reg [5:0] count = 0;
  reg [31:0] command = 0;
  reg [26:0] place = 0;  // of the next bit
  wire [63:0] row = rows[place[21:6]];
  assign miso = level;
  always @(posedge clock) begin
    was_cs_n <= cs_n;
    was_sck <= sck;
    if (cs_n) begin
      level <= 1;
      count <= 0;
      if (!was_cs_n && count == 8 && command[7:0] == 8'hab) asleep <= 0;
    end else if (sck && !was_sck && !count[5]) begin
      command <= {command[30:0], mosi};
      count <= count + 1;
      place <= {command[22:0], mosi, 3'd0};
    end else if (!sck && was_sck && count[5] && command[31:24] == 8'h03 && !asleep) begin
      level <= place[22] || !row[{place[5:3], 3'd7 - place[2:0]}];
      place <= place + 1;
    end
  end
endmodule
